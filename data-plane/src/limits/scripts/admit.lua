-- Lets calls through on every level and within every budget: each as if it were asked for alone,
-- behind those before it. One passes as a whole, or charges and holds nothing.
-- What budgets are is said in `shared::counters`, whose scripts this one begins with.
--
-- KEYS: the proxy's holds, living, keys that stopped, incarnation, and what any of the calls
-- concerns, each once: the budgets, the buckets, and where calls under way are counted.
-- ARGV: the number of these budgets, that of the buckets, and the life of places in
-- milliseconds; then for each call its id, its key, the name of its places, and numbers of eight
-- bytes: 1 where a hard budget is among its budgets, how many these are, and how many levels
-- there are; for each budget what `look_at_budgets` wants to know; for each level the places of
-- its bucket and of its calls among the KEYS that are (0: it has none), the limits on requests,
-- tokens and calls, and the tokens to charge.
-- Answers for each call numbers of eight bytes: what stands against it: 0 nothing; 1 a limit; 2
-- its key stopped; 3 the store lost something; 4 a budget's caps are older than the call's; 5 a
-- budget's windows are others; 6 a budget has not enough. Then which level or budget, what of it
-- (1 requests, 2 tokens, 3 calls; of a budget 1 money, 2 requests, 3 tokens), in how many
-- milliseconds to come back, the time, whether the shard is cold (0 no, 1 yes, 2 it learns), and
-- the incarnation; then for each level what is used, and for each budget how it stands, unless
-- the shard is cold.
local CALLS_WAIT = 1000
local READ, FIXED, OF_CALL = 4, 3, 4
local QUESTION, QUESTION_SIZE = '<i8i8i8', 24
local LEVEL, LEVEL_SIZE = '<i8i8i8i8i8i8', 48
local VERDICT, USED = '<i8i8i8i8i8i8i8', '<i8i8i8'
local COLD = { W = 0, C = 1, L = 2 }

local now = clock()
local buckets_at = READ + tonumber(ARGV[1])
local calls_at = buckets_at + tonumber(ARGV[2])
-- Written once: Redis takes longer over a number than over a text.
local now_text, until_then = text(now), nil
if #KEYS > calls_at then until_then = text(now + tonumber(ARGV[3])) end
local kept = redis.call('MGET', unpack(KEYS, READ, calls_at))
local shard, shard_number = 'W', '0'
if buckets_at > READ then shard, shard_number = incarnation(kept[1], now) end

-- All as it is after the calls so far, by its place.
local budgets, buckets, under_way, entered, stopped = {}, {}, {}, {}, {}
local is_held, answers = false, {}

-- The bucket of a level, and what is used of it. It is when it was filled, with what, and in how
-- many milliseconds it is empty where a call was charged to it.
local function used(place, per_requests, per_tokens)
  local bucket = buckets[place]
  if not bucket then
    local at, requests, tokens = read(kept[buckets_at - READ + 1 + place])
    bucket = { at, requests, tokens, false }
    buckets[place] = bucket
  end
  return bucket, drain(bucket[1], bucket[2], bucket[3], now, per_requests, per_tokens)
end

-- How many calls are under way.
local function count_calls(place)
  local count = under_way[place]
  if not count then
    redis.call('ZREMRANGEBYSCORE', KEYS[calls_at + place], '-inf', now_text)
    count = redis.call('ZCARD', KEYS[calls_at + place])
    under_way[place] = count
  end
  return count
end

for nth = FIXED + 1, #ARGV, OF_CALL do
  local call, key, said = ARGV[nth], ARGV[nth + 1], ARGV[nth + 3]
  local is_hard, wanted, count = struct.unpack(QUESTION, said)
  local at = 1 + QUESTION_SIZE
  local verdict, which, what, longest = 0, 0, 0, 0
  if stopped[key] == nil then stopped[key] = redis.call('ZSCORE', KEYS[3], key) end
  if stopped[key] then verdict = 2 end

  local state, number, own, holds = 'W', '0', {}, nil
  if wanted > 0 then state, number = shard, shard_number end
  if verdict == 0 and state ~= 'W' and is_hard == 1 then verdict = 3 end
  -- A budget that is not hard lets calls through also while nobody counts.
  if wanted > 0 and state ~= 'C' and verdict == 0 then
    local against, index, kind
    own, holds, against, index, kind =
      look_at_budgets(budgets, kept, READ, wanted, said, at, now)
    if against == 'terms' then
      verdict, which = 4, index
    elseif against == 'window' then
      verdict, which = 5, index
    elseif against and redis.call('HEXISTS', KEYS[1], call) == 0 then
      -- Who holds already what they want asks again, and stands in nobody's way.
      verdict, which, what = 6, index, kind
    end
  end
  at = at + wanted * WANTED_SIZE

  local levels = {}
  for i = 1, count do
    local bucket_at, calls, per_requests, per_tokens, most, charge =
      struct.unpack(LEVEL, said, at)
    at = at + LEVEL_SIZE
    local bucket, requests, tokens, there = nil, 0, 0, 0
    local for_requests, for_tokens, for_calls = 0, 0, 0
    if bucket_at > 0 then
      bucket, requests, tokens = used(bucket_at, per_requests, per_tokens)
      for_requests = wait(requests, 1, per_requests)
      for_tokens = wait(tokens, charge, per_tokens)
    end
    if calls > 0 then
      there = count_calls(calls)
      if there >= most then for_calls = CALLS_WAIT end
    end
    -- Who has no money left need not come back.
    if verdict <= 1 then
      if for_requests > longest then verdict, which, what, longest = 1, i, 1, for_requests end
      if for_tokens > longest then verdict, which, what, longest = 1, i, 2, for_tokens end
      if for_calls > longest then verdict, which, what, longest = 1, i, 3, for_calls end
    end
    levels[i] = { bucket, calls, per_requests, per_tokens, charge, requests, tokens, there }
  end

  local answer =
    { struct.pack(VERDICT, verdict, which, what, longest, now, COLD[state], tonumber(number)) }
  for i = 1, count do
    local level = levels[i]
    local bucket, calls, requests, tokens, there = level[1], level[2], level[6], level[7], level[8]
    if verdict == 0 and bucket then
      local per_requests, per_tokens = level[3], level[4]
      if per_requests >= 0 then requests = requests + MINUTE end
      if per_tokens >= 0 then tokens = tokens + level[5] * MINUTE end
      bucket[1], bucket[2], bucket[3] = now, requests, tokens
      bucket[4] = empty_in(requests, tokens, per_requests, per_tokens)
    end
    if verdict == 0 and calls > 0 then
      local added = redis.call('ZADD', KEYS[calls_at + calls], until_then, ARGV[nth + 2])
      under_way[calls], entered[calls] = there + added, true
      there = there + 1
    end
    answer[1 + i] = struct.pack(USED, requests, tokens, there)
  end

  local windows = nil
  if verdict == 0 and wanted > 0 and state ~= 'C' then
    windows, is_held = take_budgets(own, holds, KEYS[1], call), true
  end
  for i, budget in ipairs(own) do
    answer[1 + count + i] = told(budget, now, windows and windows[i])
  end
  answers[#answers + 1] = table.concat(answer)
end

for place, bucket in pairs(buckets) do
  if bucket[4] then
    fill(KEYS[buckets_at + place], now, bucket[2], bucket[3], bucket[4])
  end
end
for place in pairs(entered) do redis.call('PEXPIRE', KEYS[calls_at + place], ARGV[3]) end
-- That a window began is true, whoever is let through.
write_all(budgets)
-- With that the process has given a sign of life: should it never give another, what it holds
-- is found.
if is_held then redis.call('ZADD', KEYS[2], now_text, string.sub(KEYS[1], -16)) end
return answers
