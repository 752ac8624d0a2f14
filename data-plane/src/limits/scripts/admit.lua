-- Lets a call through on every level and within every budget, or charges and holds nothing.
-- What budgets are is said in `shared::counters`, whose scripts this one begins with.
--
-- KEYS: incarnation, the proxy's holds, living, keys that stopped, then the budgets; then for each
-- level its bucket and its calls.
-- ARGV: the call, its key, the number of budgets, 1 where a hard one is among them, the name
-- of the call's places and their life in milliseconds; then for each budget what
-- `look_at_budgets` wants to know; then for each level the limits on requests, tokens and
-- calls, and the tokens to charge.
-- Answers what stands against the call: 0 nothing; 1 a limit; 2 its key stopped; 3 the store
-- lost something; 4 a budget's caps are older than the call's; 5 a budget's windows are
-- others; 6 a budget has not enough. Then which level or budget, what of it (1 requests, 2
-- tokens, 3 calls; of a budget 1 money, 2 requests, 3 tokens), in how many milliseconds to
-- come back, the time, whether the shard is cold (0 no, 1 yes, 2 it learns), and the
-- incarnation; then for each level what is used, and for each budget how it stands, unless
-- the shard is cold.
local CALLS_WAIT = 1000
local FIXED_KEYS, FIXED = 4, 6
local COLD = { W = 0, C = 1, L = 2 }

local now = clock()
local wanted = tonumber(ARGV[3])
local verdict, which, what, longest = 0, 0, 0, 0

if redis.call('ZSCORE', KEYS[4], ARGV[2]) then verdict = 2 end

local state, number, budgets = 'W', '0', {}
if wanted > 0 then state, number = incarnation(KEYS[1], now) end
if verdict == 0 and state ~= 'W' and ARGV[4] == '1' then verdict = 3 end
-- A budget that is not hard lets calls through also while nobody counts.
if wanted > 0 and state ~= 'C' and verdict == 0 then
  local keys = {}
  for i = 1, wanted do keys[i] = KEYS[FIXED_KEYS + i] end
  local against, index, kind
  budgets, against, index, kind = look_at_budgets(keys, FIXED, now)
  if against == 'terms' then
    verdict, which = 4, index
  elseif against == 'window' then
    verdict, which = 5, index
  elseif against then
    verdict, which, what = 6, index, kind
  end
end

local levels = {}
local first_key, first_word = FIXED_KEYS + wanted, FIXED + WORDS * wanted
for i = 1, (#KEYS - first_key) / 2 do
  local at = first_word + 4 * (i - 1)
  local limits = {
    requests = tonumber(ARGV[at + 1]),
    tokens = tonumber(ARGV[at + 2]),
    calls = tonumber(ARGV[at + 3]),
  }
  local key = first_key + 2 * i
  local level = { bucket = KEYS[key - 1], calls = KEYS[key], limits = limits, under_way = 0 }
  level.has_bucket = limits.requests >= 0 or limits.tokens >= 0
  level.charge = tonumber(ARGV[at + 4])
  level.used = { requests = 0, tokens = 0 }
  local waits = { 0, 0, 0 }
  if level.has_bucket then
    level.used = read(level.bucket, now, limits)
    waits[1] = wait(level.used.requests, 1, limits.requests)
    waits[2] = wait(level.used.tokens, level.charge, limits.tokens)
  end
  if limits.calls >= 0 then
    redis.call('ZREMRANGEBYSCORE', level.calls, '-inf', now)
    level.under_way = redis.call('ZCARD', level.calls)
    if level.under_way >= limits.calls then waits[3] = CALLS_WAIT end
  end
  -- Who has no money left need not come back.
  if verdict <= 1 then
    for kind, milliseconds in ipairs(waits) do
      if milliseconds > longest then
        verdict, which, what, longest = 1, i, kind, milliseconds
      end
    end
  end
  levels[i] = level
end

if verdict == 0 then
  for _, level in ipairs(levels) do
    local limits, used = level.limits, level.used
    if limits.requests >= 0 then used.requests = used.requests + MINUTE end
    if limits.tokens >= 0 then used.tokens = used.tokens + level.charge * MINUTE end
    if level.has_bucket then write(level.bucket, now, limits, used) end
    if limits.calls >= 0 then
      redis.call('ZADD', level.calls, now + tonumber(ARGV[6]), ARGV[5])
      redis.call('PEXPIRE', level.calls, ARGV[6])
      level.under_way = level.under_way + 1
    end
  end
  if #budgets > 0 then take_budgets(budgets, KEYS[2], KEYS[3], ARGV[1], now) end
end

local answer = { verdict, which, what, longest, now, COLD[state], tonumber(number) }
for _, level in ipairs(levels) do
  answer[#answer + 1] = level.used.requests
  answer[#answer + 1] = level.used.tokens
  answer[#answer + 1] = level.under_way
end
for _, budget in ipairs(budgets) do told(budget, now, answer) end
return answer
