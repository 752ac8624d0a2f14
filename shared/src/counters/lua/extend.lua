-- Holds more for a call that goes on: all that it asks for, or nothing.
--
-- KEYS: incarnation, the proxy's holds, then the budgets.
-- ARGV: the call, the incarnation's number; then for each budget the window that it holds
-- something of, and how much more in money, requests and tokens.
-- Answers 0 where it is held; else the budget that has not enough; -1 where the store
-- lost something; -2 where the call holds nothing.
local now = clock()
local state, number = incarnation(KEYS[1], now)
if state ~= 'W' or number ~= ARGV[2] then return -1 end
local before = redis.call('HGET', KEYS[2], ARGV[1])
if not before then return -2 end

local wanted = {}
for i = 3, #KEYS do
  local at = 4 * (i - 3) + 2
  local budget = read_budget(KEYS[i])
  local window, prefix = window_of(budget, tonumber(ARGV[at + 1]))
  local more = { tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]) }
  if window then
    if budget.hard == 1 then
      for n, kind in ipairs({ 'm', 'r', 't' }) do
        local most = cap(budget, kind, now)
        local taken = window['s' .. kind] + window['r' .. kind]
        if most and more[n] > 0 and taken + more[n] > most then return i - 2 end
      end
    end
    wanted[#wanted + 1] = { KEYS[i], prefix, window, more }
  end
end
local after = before
for _, it in ipairs(wanted) do
  local key, prefix, window, more = unpack(it)
  hold(key, prefix, window, more[1], more[2], more[3])
  local id = string.match(key, '[^:]+$')
  after = after .. written(id, window.ws, more[1], more[2], more[3])
end
redis.call('HSET', KEYS[2], ARGV[1], after)
return 0
