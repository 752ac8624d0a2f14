-- Lets a call through on every level and within every budget, or charges and holds nothing.
-- What budgets are is said in `shared::counters`, whose scripts this one begins with.
--
-- KEYS: the proxy's holds, living, keys that stopped, incarnation, the budgets, and of all
-- levels first the buckets, then the calls.
-- ARGV: the call, its key, the number of budgets, 1 where a hard one is among them, the number of
-- levels, the name of the call's places and their life in milliseconds; then for each budget
-- what `look_at_budgets` wants to know; then for each level the limits on requests, tokens and
-- calls, and the tokens to charge, in eight bytes each.
-- Answers numbers of eight bytes: what stands against the call: 0 nothing; 1 a limit; 2 its key
-- stopped; 3 the store lost something; 4 a budget's caps are older than the call's; 5 a budget's
-- windows are others; 6 a budget has not enough. Then which level or budget, what of it (1
-- requests, 2 tokens, 3 calls; of a budget 1 money, 2 requests, 3 tokens), in how many
-- milliseconds to come back, the time, whether the shard is cold (0 no, 1 yes, 2 it learns), and
-- the incarnation; then for each level what is used, and for each budget how it stands, unless
-- the shard is cold.
local CALLS_WAIT = 1000
local READ, FIXED = 4, 7
local COLD = { W = 0, C = 1, L = 2 }

local now = clock()
local wanted, count = tonumber(ARGV[3]), tonumber(ARGV[5])
local verdict, which, what, longest = 0, 0, 0, 0
if redis.call('ZSCORE', KEYS[3], ARGV[2]) then verdict = 2 end

local buckets, calls = READ + wanted, READ + wanted + count
local kept = redis.call('MGET', unpack(KEYS, READ, calls))
local state, number, budgets, holds = 'W', '0', {}, nil
if wanted > 0 then state, number = incarnation(kept[1], now) end
if verdict == 0 and state ~= 'W' and ARGV[4] == '1' then verdict = 3 end
-- A budget that is not hard lets calls through also while nobody counts.
if wanted > 0 and state ~= 'C' and verdict == 0 then
  local against, index, kind
  budgets, holds, against, index, kind =
    look_at_budgets(wanted, READ + 1, kept, FIXED + 1, now)
  if against == 'terms' then
    verdict, which = 4, index
  elseif against == 'window' then
    verdict, which = 5, index
  elseif against and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
    -- Who holds already what they want asks again, and stands in nobody's way.
    verdict, which, what = 6, index, kind
  end
end

local levels = {}
for i = 1, count do
  local per_requests, per_tokens, most, charge = struct.unpack(SAID, ARGV[FIXED + wanted + i])
  local requests, tokens, under_way = 0, 0, 0
  local waits = { 0, 0, 0 }
  if per_requests >= 0 or per_tokens >= 0 then
    requests, tokens = drain(kept[1 + wanted + i], now, per_requests, per_tokens)
    waits[1] = wait(requests, 1, per_requests)
    waits[2] = wait(tokens, charge, per_tokens)
  end
  if most >= 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[calls + i], '-inf', now)
    under_way = redis.call('ZCARD', KEYS[calls + i])
    if under_way >= most then waits[3] = CALLS_WAIT end
  end
  -- Who has no money left need not come back.
  if verdict <= 1 then
    for kind = 1, 3 do
      if waits[kind] > longest then
        verdict, which, what, longest = 1, i, kind, waits[kind]
      end
    end
  end
  levels[i] = { per_requests, per_tokens, most, charge, requests, tokens, under_way }
end

local answer = { '' }
for i, level in ipairs(levels) do
  local per_requests, per_tokens, most, charge, requests, tokens, under_way = unpack(level)
  if verdict == 0 then
    if per_requests >= 0 then requests = requests + MINUTE end
    if per_tokens >= 0 then tokens = tokens + charge * MINUTE end
    if per_requests >= 0 or per_tokens >= 0 then
      fill(KEYS[buckets + i], now, per_requests, per_tokens, requests, tokens)
    end
    if most >= 0 then
      redis.call('ZADD', KEYS[calls + i], now + tonumber(ARGV[7]), ARGV[6])
      redis.call('PEXPIRE', KEYS[calls + i], ARGV[7])
      under_way = under_way + 1
    end
  end
  answer[1 + i] = struct.pack('<i8i8i8', requests, tokens, under_way)
end
local windows = {}
if verdict == 0 and wanted > 0 and state ~= 'C' then
  windows = take_budgets(budgets, holds, KEYS[1], KEYS[2], ARGV[1], now)
else
  -- That a window began is true, whoever is let through.
  write_all(budgets)
end
for i, budget in ipairs(budgets) do answer[1 + count + i] = told(budget, now, windows[i]) end
answer[1] =
  struct.pack('<i8i8i8i8i8i8i8', verdict, which, what, longest, now, COLD[state], tonumber(number))
return table.concat(answer)
