-- What every load shares: ids that never repeat, a look at each answer, JSON at the end.
-- Arguments after `--`: run number, first and last product, expected statuses (as in `200, 409`),
-- text that a good answer holds ("" for any), reservations per request, buyers.

local threads = {}

function setup(thread)
   table.insert(threads, thread)
   thread:set("number", #threads)
end

function read_arguments(args)
   run, first, last = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
   expected, good_text = {}, args[5]
   for status in args[4]:gmatch("%d+") do expected[tonumber(status)] = true end
   size = tonumber(args[6])
   buyers = {}
   for token, account in (args[7] or ""):gmatch("([^%s,]+) (%d+)") do
      table.insert(buyers, { token = token, account = account })
   end
   wrk.headers["Content-Type"] = "application/json"
   prefix, sent = string.format("1%05d%02d", run, number), 0
   answered, accepted, unexpected, example = 0, 0, 0, ""
   math.randomseed(run * 100 + number)
end

function reservation()
   sent = sent + 1
   return string.format(
      '{"reservation_id":"%s%010d","product_id":"%d","quantity":1,' ..
         '"timestamp":"2026-11-21T10:00:00Z"}',
      prefix, sent, math.random(first, last))
end

function post(body)
   return wrk.format("POST", nil, nil, body)
end

function response(status, headers, body)
   answered = answered + 1
   if status < 300 then accepted = accepted + 1 end
   if not expected[status] or not body:find(good_text, 1, true) or body:find('"error"', 1, true)
      and status < 400
   then
      unexpected = unexpected + 1
      if example == "" then example = status .. " " .. body:sub(1, 200) end
   end
end

function done(summary, latency, requests)
   local all, good, bad, first_bad = 0, 0, 0, ""
   for _, thread in ipairs(threads) do
      all, good = all + thread:get("answered"), good + thread:get("accepted")
      bad = bad + thread:get("unexpected")
      if first_bad == "" then first_bad = thread:get("example") end
   end
   local broken = summary.errors
   io.write(string.format(
      'RESULT {"seconds":%.6f,"answered":%d,"accepted":%d,"unexpected":%d,"broken":%d,' ..
         '"timeouts":%d,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}\n',
      summary.duration / 1e6, all, good, bad, broken.connect + broken.read + broken.write,
      broken.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      latency.max / 1e3))
   if bad > 0 then io.write("UNEXPECTED " .. first_bad:gsub("%s+", " ") .. "\n") end
end
