-- Counts what calls came to, lets go of what they held, and tells of them: each once.
--
-- KEYS: incarnation, settled, the proxy's holds, the holds of the dead, events, alerts, then
-- the budgets.
-- ARGV: the epoch, the number of calls; then for each call its number among the epoch's, its
-- id, its event and the number of its budgets; then for each of those its place among the
-- KEYS that are budgets, the window, what was held of it in money, requests and tokens, and
-- what was spent.
-- Answers the state, and the last settlement that is counted.
local BUDGETS = 6
local now = clock()
local state = incarnation(KEYS[1], now)
local epoch = ARGV[1]
local last = tonumber(redis.call('HGET', KEYS[2], epoch) or '0')
if state == 'C' then return { state, last } end

-- Tells once of each threshold that a window has passed.
local function alert(budget, window, prefix)
  local marks = redis.call('HGET', budget.key, 'th')
  if not marks or marks == '' then return end
  local share = 0
  for _, kind in ipairs({ 'm', 'r', 't' }) do
    local most = cap(budget, kind, now)
    if most and most > 0 then share = math.max(share, window['s' .. kind] * 100 / most) end
  end
  local bit, told = 1, window.al
  for mark in string.gmatch(marks, '%d+') do
    local is_told = math.floor(told / bit) % 2 == 1
    if not is_told and share >= tonumber(mark) then
      told = told + bit
      redis.call('XADD', KEYS[6], '*', 'budget', string.match(budget.key, '[^:]+$'),
        'window', text(window.ws), 'percent', mark, 'spent', text(window.sm))
    end
    bit = bit * 2
  end
  if told ~= window.al then redis.call('HSET', budget.key, prefix .. 'al', text(told)) end
end

local at, done = 2, last
for _ = 1, tonumber(ARGV[2]) do
  local number, call, event = tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local budgets = tonumber(ARGV[at + 4])
  local first = at + 4
  at = first + 8 * budgets
  if number > done then
    -- One that we have not seen is missing: the store went back.
    if number ~= done + 1 then break end
    local was_held = redis.call('HDEL', KEYS[3], call) == 1
    local was_dead = not was_held and redis.call('HDEL', KEYS[4], epoch .. ' ' .. call) == 1
    for i = 0, budgets - 1 do
      local of = first + 8 * i
      local budget = read_budget(KEYS[BUDGETS + tonumber(ARGV[of + 1])])
      local window, prefix = window_of(budget, tonumber(ARGV[of + 2]))
      if window then
        local changes = {}
        for n, kind in ipairs({ 'm', 'r', 't' }) do
          local held, spent = tonumber(ARGV[of + 2 + n]), tonumber(ARGV[of + 5 + n])
          changes[#changes + 1] = 's' .. kind
          changes[#changes + 1] = window['s' .. kind]
          changes[#changes + 1] = spent
          if was_held or was_dead then
            changes[#changes + 1] = 'r' .. kind
            changes[#changes + 1] = window['r' .. kind]
            changes[#changes + 1] = -math.min(held, window['r' .. kind])
          end
          if was_dead and kind == 'm' then
            changes[#changes + 1] = 'hm'
            changes[#changes + 1] = window.hm
            changes[#changes + 1] = -math.min(held, window.hm)
          end
          window['s' .. kind] = window['s' .. kind] + spent
        end
        add(budget.key, prefix, changes)
        alert(budget, window, prefix)
      end
    end
    redis.call('XADD', KEYS[5], '*', 'v1', event)
    done = number
  end
end
if done > last then redis.call('HSET', KEYS[2], epoch, text(done)) end
return { state, done }
