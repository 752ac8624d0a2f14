-- Holds more for a call that goes on: all that it asks for, or nothing.
--
-- KEYS: incarnation, the proxy's holds, then the budgets.
-- ARGV: the call, the incarnation's number; then for each budget the window that it holds
-- something of, and how much more.
-- Answers 0 where it is held; else the budget that has not enough; -1 where the store
-- lost something; -2 where the call holds nothing.
local now = clock()
local state, number = incarnation(redis.call('GET', KEYS[1]), now)
if state ~= 'W' or number ~= ARGV[2] then return -1 end
local before = redis.call('HGET', KEYS[2], ARGV[1])
if not before then return -2 end

local budgets, by_id = read_budgets(3)
local pieces = { before }
for i, budget in ipairs(budgets) do
  local from, money, requests, tokens = struct.unpack(SAID, ARGV[2 + i])
  local window, at = window_of(budget, from)
  if window then
    if budget[HARD] == 1 then
      local caps = caps_of(budget, now)
      for kind, more in ipairs({ money, requests, tokens }) do
        local most = budget[caps + kind - 1]
        local taken = window[at + SPENT + kind - 1] + window[at + HELD + kind - 1]
        if most >= 0 and more > 0 and taken + more > most then return i end
      end
    end
    add_all(window, at + HELD, money, requests, tokens)
    pieces[#pieces + 1] = piece(budget, from, money, requests, tokens)
  end
end
write_all(by_id)
redis.call('HSET', KEYS[2], ARGV[1], table.concat(pieces))
return 0
