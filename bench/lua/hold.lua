-- POST /reservations: a hold of one line that lapses, one a request.
require "common"

function init(args)
   read_arguments(args)
end

function request()
   sent = sent + 1
   return post(string.format(
      '{"reservation_id":"%s%010d","lines":[{"product_id":"%d","quantity":1}],"ttl_seconds":600}',
      prefix, sent, math.random(first, last)))
end
