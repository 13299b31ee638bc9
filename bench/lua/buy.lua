-- POST /products/buy: a unit for one of the buyers, at random.
require "common"

function init(args)
   read_arguments(args)
end

function request()
   local buyer = buyers[math.random(#buyers)]
   return wrk.format("POST", nil,
      { ["Content-Type"] = "application/json", Authorization = "Bearer " .. buyer.token },
      string.format('{"product_id":"%d","account_id":%s,"quantity":1}',
         math.random(first, last), buyer.account))
end
