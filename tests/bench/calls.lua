-- What wrk sends: the bodies in the files that BENCH_CALLS names, in turn, with the key in
-- TURNPIKE_API_KEY. Both come by the environment, since arguments are everybody's to read.
local path = "/v1/chat/completions"
local bodies = {}
for name in os.getenv("BENCH_CALLS"):gmatch("[^:]+") do
  local file = assert(io.open(name, "rb"))
  bodies[#bodies + 1] = file:read("*a")
  file:close()
end

wrk.method = "POST"
wrk.path = path
wrk.body = bodies[1]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TURNPIKE_API_KEY")

-- Asked for each request only where there is a choice: asking costs wrk more than sending.
if #bodies > 1 then
  local requests, turn = {}, 0
  function init()
    for i, body in ipairs(bodies) do
      requests[i] = wrk.format(nil, path, nil, body)
    end
  end
  function request()
    turn = turn % #requests + 1
    return requests[turn]
  end
end
