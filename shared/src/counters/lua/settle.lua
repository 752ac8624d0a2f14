-- Counts what calls came to, lets go of what they held, and tells of them: each once.
--
-- What a call held is what stands in the store: its proxy need not have heard of it.
--
-- KEYS: incarnation, settled, the proxy's holds, the holds of the dead, events, alerts, then
-- the budgets that the calls hold something of or are counted for.
-- ARGV: the epoch, the number of calls; then for each call its number among the epoch's, its
-- id, its event and the number of windows that it is counted in; then for each of those its
-- budget's place among the KEYS that are budgets, the window, and what was spent in money,
-- requests and tokens.
-- Answers the state, the incarnation's number, and the last settlement that is counted.
local BUDGETS = 6
local WORDS = 5
local KINDS = { 'm', 'r', 't' }
local now = clock()
local state, incarnation_number = incarnation(KEYS[1], now)
local epoch = ARGV[1]
local last = tonumber(redis.call('HGET', KEYS[2], epoch) or '0')
if state == 'C' then return { state, tonumber(incarnation_number), last } end

-- The keys of budgets, by their last part.
local places = {}
for i = BUDGETS + 1, #KEYS do places[string.match(KEYS[i], '[^:]+$')] = KEYS[i] end

-- Tells once of each threshold that a window has passed: `al` is the highest told of.
local function alert(budget, window, prefix)
  local marks = redis.call('HGET', budget.key, 'th')
  if not marks or marks == '' then return end
  local share = 0
  for _, kind in ipairs(KINDS) do
    local most = cap(budget, kind, now)
    if most and most > 0 then share = math.max(share, window['s' .. kind] * 100 / most) end
  end
  local told = window.al
  for mark in string.gmatch(marks, '%d+') do
    local percent = tonumber(mark)
    if percent > told and share >= percent then
      told = percent
      redis.call('XADD', KEYS[6], '*', 'budget', string.match(budget.key, '[^:]+$'),
        'window', text(window.ws), 'percent', mark, 'spent', text(window.sm))
    end
  end
  if told ~= window.al then redis.call('HSET', budget.key, prefix .. 'al', text(told)) end
end

-- What a call holds, by budget and window.
local function held_by(written)
  local all = {}
  for id, from, money, requests, tokens in
    string.gmatch(written, '(%x+) (%-?%d+) (%d+) (%d+) (%d+);') do
    local name = id .. ' ' .. from
    local held = all[name]
    if not held then
      held = { key = places[id], window = tonumber(from), 0, 0, 0 }
      all[name] = held
    end
    held[1], held[2], held[3] =
      held[1] + tonumber(money), held[2] + tonumber(requests), held[3] + tonumber(tokens)
  end
  return all
end

-- Counts what was spent in a window, and lets go of what was held of it.
local function change(key, from, spent, held, was_dead)
  local budget = read_budget(key)
  local window, prefix = window_of(budget, from)
  if not window then return end
  local changes = {}
  for n, kind in ipairs(KINDS) do
    if spent then
      changes[#changes + 1] = 's' .. kind
      changes[#changes + 1] = window['s' .. kind]
      changes[#changes + 1] = spent[n]
    end
    if held then
      changes[#changes + 1] = 'r' .. kind
      changes[#changes + 1] = window['r' .. kind]
      changes[#changes + 1] = -math.min(held[n], window['r' .. kind])
    end
  end
  if held and was_dead then
    changes[#changes + 1] = 'hm'
    changes[#changes + 1] = window.hm
    changes[#changes + 1] = -math.min(held[1], window.hm)
  end
  add(key, prefix, changes)
  if spent then
    for n, kind in ipairs(KINDS) do window['s' .. kind] = window['s' .. kind] + spent[n] end
    alert(budget, window, prefix)
  end
end

local at, done = 2, last
for _ = 1, tonumber(ARGV[2]) do
  local number, call, event = tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local windows = tonumber(ARGV[at + 4])
  local first = at + 4
  at = first + WORDS * windows
  if number > done then
    -- One that we have not seen is missing: the store went back.
    if number ~= done + 1 then break end
    local written, was_dead = redis.call('HGET', KEYS[3], call), false
    if written then
      redis.call('HDEL', KEYS[3], call)
    else
      local name = epoch .. ' ' .. call
      written = redis.call('HGET', KEYS[4], name)
      if written then
        was_dead = true
        redis.call('HDEL', KEYS[4], name)
      end
    end
    local held = written and held_by(written) or {}
    for i = 0, windows - 1 do
      local of = first + WORDS * i
      local key, from = KEYS[BUDGETS + tonumber(ARGV[of + 1])], ARGV[of + 2]
      local spent = { tonumber(ARGV[of + 3]), tonumber(ARGV[of + 4]), tonumber(ARGV[of + 5]) }
      local name = string.match(key, '[^:]+$') .. ' ' .. from
      change(key, tonumber(from), spent, held[name], was_dead)
      held[name] = nil
    end
    for _, it in pairs(held) do
      if it.key then change(it.key, it.window, nil, it, was_dead) end
    end
    redis.call('XADD', KEYS[5], '*', 'v1', event)
    done = number
  end
end
if done > last then redis.call('HSET', KEYS[2], epoch, text(done)) end
return { state, tonumber(incarnation_number), done }
