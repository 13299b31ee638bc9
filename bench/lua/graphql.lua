-- POST /graphql: PostGraphile's mutation for reserve_stock, one reservation a request.
require "common"

local query = "mutation R($id:String!,$product:String!){reserveStock(input:{pStoreId:\\\"main\\\"," ..
   "pReservationId:$id,pProductId:$product,pQuantity:\\\"1\\\"," ..
   "pRequestedAt:\\\"2026-11-21T10:00:00Z\\\"}){result{resultCode}}}"

function init(args)
   read_arguments(args)
end

function request()
   sent = sent + 1
   return post(string.format(
      '{"query":"%s","variables":{"id":"%s%010d","product":"%d"}}',
      query, prefix, sent, math.random(first, last)))
end
