-- POST /order: a unit of one of an order's ten products, one a request: the first times a new line,
-- then one that grows. Orders are there, with the numbers from the first product to the last.
require "common"

function init(args)
   read_arguments(args)
end

function request()
   local order = math.random(first, last)
   local product = (order + math.random(0, 9) * 997) % last + 1
   return post(string.format(
      '{"order_id":"%d","nomenclature_id":"%d","quantity":1}', order, product))
end
