-- Holds again what a proxy holds for calls under way, where the store lost it.
--
-- KEYS: incarnation, the proxy's holds, then the budgets.
-- ARGV: the call; then for each budget its window, and what is held of it in money,
-- requests and tokens.
-- Answers the state.
local state = incarnation(KEYS[1], clock())
if state == 'C' then return state end
local all = ''
for i = 3, #KEYS do
  local at = 4 * (i - 3) + 1
  local id = string.match(KEYS[i], '[^:]+$')
  all = all .. written(id, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]),
    tonumber(ARGV[at + 4]))
end
if redis.call('HSETNX', KEYS[2], ARGV[1], all) == 0 then return state end
for i = 3, #KEYS do
  local at = 4 * (i - 3) + 1
  local budget = read_budget(KEYS[i])
  local window, prefix = window_of(budget, tonumber(ARGV[at + 1]))
  if window then
    hold(KEYS[i], prefix, window, tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]),
      tonumber(ARGV[at + 4]))
  end
end
return state
