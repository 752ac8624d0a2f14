-- What all scripts on budgets share. `mod.rs` says which keys there are and what is in them.
--
-- Amounts come and go as text: a number of Lua is exact up to 2^53 only.
local EXACT = 9007199254740992

local function text(number) return string.format('%.0f', number) end

-- The state that a shard is in: a letter, its incarnation's number, and a time.
local function incarnation(key, now)
  local number, state, time = string.match(redis.call('GET', key) or '', '^(%d+) (%a) (%d+)$')
  if not number then return 'C', '0' end
  if state == 'L' and now >= tonumber(time) then state = 'W' end
  return state, number
end

-- What is read of a budget, in this order: terms, then the present window, then amounts.
local FIELDS = {
  'v', 'hard', 'm', 'r', 't', 'um', 'ur', 'ut', 'until',
  'ws', 'we', 'pw', 'al', 'sm', 'sr', 'st', 'rm', 'rr', 'rt', 'hm',
}
local OF_WINDOW = { 'al', 'sm', 'sr', 'st', 'rm', 'rr', 'rt', 'hm' }

local function read_budget(key)
  local values = redis.call('HMGET', key, unpack(FIELDS))
  local budget = { key = key }
  for i, name in ipairs(FIELDS) do budget[name] = tonumber(values[i] or false) end
  for _, name in ipairs(OF_WINDOW) do budget[name] = budget[name] or 0 end
  return budget
end

-- The cap of a kind in force: nil where there is none.
local function cap(budget, kind, now)
  if budget['until'] and now < budget['until'] then return budget['u' .. kind] end
  return budget[kind]
end

-- How what is kept of another window than the present one is called.
local function names_in(window)
  local names = {}
  for i, name in ipairs(OF_WINDOW) do names[i] = text(window) .. ':' .. name end
  return names
end

-- Begins a window: puts what the present one holds aside, and forgets the one before it. What
-- came in of the new one before anybody began it is taken up. Who heals knows when a window
-- began, and not when it ends: there is no `till` then, until a call brings one.
local function turn(budget, from, till)
  if budget.ws then
    local aside = {}
    for _, name in ipairs(OF_WINDOW) do
      if budget[name] ~= 0 then
        aside[#aside + 1] = text(budget.ws) .. ':' .. name
        aside[#aside + 1] = redis.call('HGET', budget.key, name)
      end
    end
    if #aside > 0 then redis.call('HSET', budget.key, unpack(aside)) end
    redis.call('HDEL', budget.key, unpack(OF_WINDOW))
    if budget.pw then redis.call('HDEL', budget.key, unpack(names_in(budget.pw))) end
    budget.pw = budget.ws
    redis.call('HSET', budget.key, 'pw', text(budget.pw))
  end
  local names = names_in(from)
  local values, taken = redis.call('HMGET', budget.key, unpack(names)), {}
  for i, name in ipairs(OF_WINDOW) do
    budget[name] = tonumber(values[i] or '0') or 0
    if values[i] then
      taken[#taken + 1] = name
      taken[#taken + 1] = values[i]
    end
  end
  if #taken > 0 then
    redis.call('HSET', budget.key, unpack(taken))
    redis.call('HDEL', budget.key, unpack(names))
  end
  budget.ws, budget.we = from, till
  redis.call('HSET', budget.key, 'ws', text(from))
  if till then
    redis.call('HSET', budget.key, 'we', text(till))
  else
    redis.call('HDEL', budget.key, 'we')
  end
end

-- Sees to it that the present window is the one that `now` is in. `edges` are where the
-- windows meet that the caller knows of. A window that was begun ends when it was said
-- to, and the next begins there: no two overlap, whoever knows which edges. Answers
-- whether the caller knew enough.
local function present(budget, now, edges)
  if budget.we and now < budget.we then return true end
  for i = 1, #edges - 1 do
    if now >= edges[i] and now < edges[i + 1] then
      if budget.ws and not budget.we and budget.ws >= edges[i] then
        budget.we = edges[i + 1]
        redis.call('HSET', budget.key, 'we', text(budget.we))
        return true
      end
      turn(budget, math.max(edges[i], budget.we or edges[i]), edges[i + 1])
      return true
    end
  end
  return false
end

-- Adds to a few amounts of a window at once. `changes`: name, what it is, what to add.
local function add(key, before, changes)
  local whole = {}
  for i = 1, #changes, 3 do
    local name, is, more = changes[i], changes[i + 1], changes[i + 2]
    if more ~= 0 then
      local becomes = is + more
      if becomes < EXACT and becomes > -EXACT then
        whole[#whole + 1] = before .. name
        whole[#whole + 1] = text(becomes)
      else
        redis.call('HINCRBY', key, before .. name, text(more))
      end
    end
  end
  if #whole > 0 then redis.call('HSET', key, unpack(whole)) end
end

-- The window of a budget that began at `window`, as it is now: nil for one that is
-- forgotten. The second answer is what its names begin with.
local function window_of(budget, window)
  if window == budget.ws then return budget, '' end
  if budget.ws and (not budget.pw or window ~= budget.pw) then return nil end
  local values = redis.call('HMGET', budget.key, unpack(names_in(window)))
  local found = { ws = window }
  for i, name in ipairs(OF_WINDOW) do found[name] = tonumber(values[i] or '0') or 0 end
  return found, text(window) .. ':'
end

-- Holds more of a window.
local function hold(key, before, amounts, money, requests, tokens)
  add(key, before, {
    'rm', amounts.rm, money, 'rr', amounts.rr, requests, 'rt', amounts.rt, tokens,
  })
end

-- Lets go of what was held, and never of more.
local function let_go(key, before, amounts, money, requests, tokens)
  hold(key, before, amounts, -math.min(money, amounts.rm), -math.min(requests, amounts.rr),
    -math.min(tokens, amounts.rt))
end

-- How a hold is written down: for each budget its key's last part, its window and what
-- is held of it.
local function written(id, window, money, requests, tokens)
  return id .. ' ' .. text(window) .. ' ' .. text(money) .. ' ' .. text(requests) .. ' '
    .. text(tokens) .. ';'
end
