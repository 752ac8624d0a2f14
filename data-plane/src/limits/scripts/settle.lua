-- Corrects what calls were charged to what they came to, and frees their places: of many calls
-- at once, as if one after the other.
--
-- KEYS: the buckets to correct, then the calls to leave, each once.
-- ARGV: the number of buckets; the corrections, one after the other in numbers of eight bytes:
-- the bucket's place among the KEYS, the limits on requests and tokens, the tokens charged, the
-- tokens it came to, what was used just after the charge, and when that was. Then for each of
-- the calls to leave how many places are freed, and what they are called.
local CORRECTION, CORRECTION_SIZE = '<i8i8i8i8i8i8i8', 56
local now = clock()
local buckets, corrections = tonumber(ARGV[1]), ARGV[2]

local kept, levels = {}, {}
if buckets > 0 then kept = redis.call('MGET', unpack(KEYS, 1, buckets)) end
for first = 1, #corrections, CORRECTION_SIZE do
  local place, per_requests, per_tokens, charged, real, after, since =
    struct.unpack(CORRECTION, corrections, first)
  local level = levels[place]
  local requests, tokens
  if level then
    requests, tokens = drained(level[3], per_requests, 0), drained(level[4], per_tokens, 0)
  else
    local at, used_requests, used_tokens = read(kept[place])
    requests, tokens = drain(at, used_requests, used_tokens, now, per_requests, per_tokens)
  end
  if real > charged then
    tokens = math.min(MOST, tokens + (real - charged) * MINUTE)
  else
    -- What has drained meanwhile cannot be given back.
    local left = drained(after, per_tokens, math.max(0, now - since))
    tokens = math.max(0, tokens - math.min((charged - real) * MINUTE, left))
  end
  levels[place] = { per_requests, per_tokens, requests, tokens }
end
for place, level in pairs(levels) do
  local per_requests, per_tokens, requests, tokens = unpack(level)
  fill(KEYS[place], now, requests, tokens, empty_in(requests, tokens, per_requests, per_tokens))
end

local at = 3
for i = buckets + 1, #KEYS do
  local last = at + tonumber(ARGV[at])
  redis.call('ZREM', KEYS[i], unpack(ARGV, at + 1, last))
  at = last + 1
end
