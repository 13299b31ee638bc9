-- POST /reserve: one reservation a request.
require "common"

function init(args)
   read_arguments(args)
end

function request()
   return post(reservation())
end
