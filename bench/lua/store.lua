-- POST /stores/main: supply and demand of one unit in turns.
require "common"

local operation = "demand"

function init(args)
   read_arguments(args)
end

function request()
   operation = operation == "demand" and "supply" or "demand"
   return post(string.format(
      '{"operation":"%s","item_id":"%d","quantity":1}', operation, math.random(first, last)))
end
