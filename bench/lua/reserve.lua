-- POST /reserve: one reservation a request.
require "common"

function init(args)
   read_arguments(args)
   wrk.headers["Content-Type"] = "application/json"
end

function request()
   return post(reservation())
end
