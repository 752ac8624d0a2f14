-- Counts what calls came to, lets go of what they held, and tells of them: each once.
--
-- What a call held is what stands in the store: its proxy need not have heard of it.
--
-- KEYS: settled, the proxy's holds, the holds of the dead, events, alerts, incarnation, then
-- the budgets that the calls hold something of or are counted for, each once.
-- ARGV: the epoch, the number of calls; then for each call its number among the epoch's, its
-- id, its event and what it is counted for: for each window its budget's place among the KEYS
-- that are budgets, when it began, and what was spent in money, requests and tokens.
-- Answers the state, the incarnation's number, and the last settlement that is counted.
local FIXED, COUNTED, COUNTED_SIZE = 6, '<i8i8i8i8i8', 40
local now = clock()
local kept = redis.call('MGET', unpack(KEYS, FIXED))
local state, number = incarnation(kept[1], now)
local epoch = ARGV[1]
local last = tonumber(redis.call('HGET', KEYS[1], epoch) or '0')
if state == 'C' then return { state, tonumber(number), last } end

local budgets, by_id = {}, {}
for i = FIXED + 1, #KEYS do
  local key = KEYS[i]
  local budget = unpacked(key, kept[i - FIXED + 1])
  budgets[i - FIXED], by_id[string.sub(key, -32)] = budget, budget
end

-- Tells once of each threshold that a window has passed: it keeps the highest told of.
local KINDS = { [0] = 'money', 'requests', 'tokens' }
local function alert(budget, window, at)
  local text_of, told, share, kind = budget[KEPT], window[at + TOLD], nil, nil
  for place = THRESHOLDS, #text_of, 2 do
    local percent = struct.unpack('<I2', text_of, place)
    if percent > told then
      if not share then share, kind = most_spent(budget, window, at, now) end
      if share < percent then return end
      told, window[at + TOLD] = percent, percent
      redis.call('XADD', KEYS[5], '*', 'budget', string.sub(budget[KEY], -32),
        'window', text(window[at]), 'percent', percent, 'spent', text(window[at + SPENT]),
        'kind', KINDS[kind], 'amount', text(window[at + SPENT + kind]),
        'cap', text(budget[caps_of(budget, now) + kind]), 'version', text(budget[VERSION]))
    end
  end
end

-- Lets go of what a call holds.
local function release(written, first, was_dead)
  for place = first, #written, HOLD_SIZE do
    local id, from, money, requests, tokens = struct.unpack(HOLD, written, place)
    local budget, window, at = by_id[id], nil, nil
    if budget then window, at = window_of(budget, from) end
    if window then
      let_go(window, at, money, requests, tokens)
      if was_dead then is_alive(window, at, money) end
    end
  end
end

local done = last
for i = 0, tonumber(ARGV[2]) - 1 do
  local at = 3 + 4 * i
  local settlement, call = tonumber(ARGV[at]), ARGV[at + 1]
  if settlement > done then
    -- One that we have not seen is missing: the store went back.
    if settlement ~= done + 1 then break end
    local written = redis.call('HGET', KEYS[2], call)
    if written then
      redis.call('HDEL', KEYS[2], call)
      release(written, 1, false)
    else
      local name = epoch .. ' ' .. call
      written = redis.call('HGET', KEYS[3], name)
      if written then
        redis.call('HDEL', KEYS[3], name)
        release(written, 1 + SINCE, true)
      end
    end
    local counted = ARGV[at + 3]
    for first = 1, #counted, COUNTED_SIZE do
      local place, from, money, requests, tokens = struct.unpack(COUNTED, counted, first)
      local budget = budgets[place]
      local window, of = window_of(budget, from)
      if window then
        add_all(window, of + SPENT, money, requests, tokens)
        alert(budget, window, of)
      end
    end
    redis.call('XADD', KEYS[4], '*', 'v1', ARGV[at + 2])
    done = settlement
  end
end
if done > last then
  write_all(budgets)
  redis.call('HSET', KEYS[1], epoch, done)
end
return { state, tonumber(number), done }
