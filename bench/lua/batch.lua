-- POST /reserve/batch: so many reservations a request, as the last argument says.
require "common"

function init(args)
   read_arguments(args)
end

function request()
   local callbacks = {}
   for i = 1, size do callbacks[i] = reservation() end
   return post("[" .. table.concat(callbacks, ",") .. "]")
end
