-- A bucket holds what was used lately of a level's minute, in 60,000ths of a request and of
-- a token: then a limit of n a minute drains n of them each millisecond, in whole numbers.
-- The same arithmetic is in gcra.rs, which says more. -1 stands for "no limit".
--
-- Kept as three numbers of eight bytes: when, requests, tokens. Packing them costs a fifth
-- less than writing them as text.
local MINUTE = 60000
local BUCKET, BUCKET_SIZE = '<ddd', 24
local MOST = 6000000000000000

local function ceil_div(a, b)
  local rest = math.fmod(a, b)
  local whole = (a - rest) / b
  return rest > 0 and whole + 1 or whole
end

local function drained(used, limit, passed)
  if limit <= 0 then return 0 end
  return math.max(0, used - limit * passed)
end

-- In how many milliseconds there is room for `cost`; 0 for now.
local function wait(used, cost, limit)
  if limit < 0 then return 0 end
  if limit == 0 then return MINUTE end
  return ceil_div(math.max(0, used + cost * MINUTE - limit * MINUTE), limit)
end

-- When a bucket was filled last, and with how many requests and tokens, by what is kept of it,
-- if anything is.
local function read(kept)
  if not kept or #kept ~= BUCKET_SIZE then return 0, 0, 0 end
  return struct.unpack(BUCKET, kept)
end

-- What is used of requests and tokens now.
local function drain(at, requests, tokens, now, per_requests, per_tokens)
  -- A clock that went back drains nothing.
  local passed = math.max(0, now - at)
  return drained(requests, per_requests, passed), drained(tokens, per_tokens, passed)
end

-- In how many milliseconds a bucket is empty.
local function empty_in(requests, tokens, per_requests, per_tokens)
  local life = 0
  if requests > 0 then life = ceil_div(requests, per_requests) end
  if tokens > 0 then life = math.max(life, ceil_div(tokens, per_tokens)) end
  return life
end

-- Kept until it is empty, and no longer.
local function fill(key, now, requests, tokens, life)
  if life == 0 then
    redis.call('DEL', key)
  else
    redis.call('SET', key, struct.pack(BUCKET, now, requests, tokens), 'PX', life)
  end
end
