-- What all scripts on budgets share. `mod.rs` says which keys there are and what is in them.
--
-- What is kept of a budget is one text, so that one command reads all budgets of a call:
-- twenty whole numbers of eight bytes, the lowest byte first, and behind them what is seldom
-- needed. Here the numbers stand in a table, behind the budget's key and the text.
local KEY, KEPT = 1, 2
local VERSION, HARD, CAPS, RAISED, UNTIL = 3, 4, 5, 8, 11
-- The present window: when it began (-1: there is none), its amounts, and when it ends (0:
-- nobody has said so yet).
local PRESENT, TILL = 12, 21
-- 1 where an amount is, or was, too large for a number of Lua.
local LARGE = 22
-- What was done to it: nothing, only its present amounts were changed, or more was.
local STATE, CHANGED, ALTERED = 23, 1, 2
local FORM, SIZE = '<i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8', 160

-- Of a window, behind when it began: the highest threshold told of, what is spent and what is
-- held in money, requests and tokens, and of the money held what the dead hold.
local TOLD, SPENT, HELD, DEAD = 1, 2, 5, 8
local AMOUNTS, AMOUNTS_AT = '<i8i8i8i8i8i8i8i8', 80
local WINDOW, WINDOW_SIZE = '<i8i8i8i8i8i8i8i8i8', 72
-- Behind the numbers: two other windows, the latest that anybody named; what the budget was
-- opened with, which is 1 where it was, in which window, and the amounts; and the thresholds
-- in rising order, two bytes each. These are the places in the text where each begins.
local OTHERS, OPENING, THRESHOLDS = 2, 305, 345

-- A number of Lua is exact up to 2^53. Of what is more, the halves are kept beside it.
local EXACT, HALF = 9007199254740992, 4294967296

local function text(number) return string.format('%.0f', number) end

-- The state that a shard is in: a letter, its incarnation's number, and a time.
local function incarnation(kept, now)
  local number, state, time = string.match(kept or '', '^(%d+) (%a) (%d+)$')
  if not number then return 'C', '0' end
  if state == 'L' and now >= tonumber(time) then state = 'W' end
  return state, number
end

-- Takes the halves of what is large in a window from the text that it stands in. `first` is
-- what stands first in that.
local function find_large(window, at, first, kept)
  window.large = {}
  for n = at + SPENT, at + DEAD do
    if window[n] >= EXACT then
      window.large[n] = { struct.unpack('<I4i4', kept, 8 * (n - first) + 1) }
    end
  end
end

-- Puts them where they belong.
local function with_large(window, first, kept)
  for n, halves in pairs(window.large) do
    local before = 8 * (n - first)
    kept = string.sub(kept, 1, before) .. struct.pack('<I4i4', halves[1], halves[2])
      .. string.sub(kept, before + 9)
  end
  return kept
end

-- What is kept of a budget that nobody has said anything of.
local function nothing()
  local other = struct.pack(WINDOW, -1, 0, 0, 0, 0, 0, 0, 0, 0)
  return struct.pack(FORM, 0, 0, -1, -1, -1, -1, -1, -1, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    .. string.rep(other, OTHERS) .. string.rep('\0', THRESHOLDS - OPENING)
end

-- A budget, by what is kept of it, if anything is.
local function unpacked(key, kept)
  kept = kept or nothing()
  -- Its state is the place at which reading ended, until it gets another.
  local budget = { key, kept, struct.unpack(FORM, kept) }
  if budget[LARGE] ~= 0 then find_large(budget, PRESENT, VERSION, kept) end
  return budget
end

local function packed(budget)
  local kept, windows = budget[KEPT], budget.others
  local rest = string.sub(kept, SIZE + 1)
  if windows then
    local all = {}
    for i = 1, OTHERS do
      local it = windows[i] or { -1, 0, 0, 0, 0, 0, 0, 0, 0 }
      all[i] = struct.pack(WINDOW, unpack(it, 1, 1 + DEAD))
      if it.large then
        all[i], budget[LARGE] = with_large(it, 1, all[i]), 1
      end
    end
    rest = table.concat(all) .. string.sub(kept, OPENING)
  end
  if budget.large then budget[LARGE] = 1 end
  local numbers = struct.pack(FORM, unpack(budget, VERSION, LARGE))
  if budget.large then numbers = with_large(budget, VERSION, numbers) end
  return numbers .. rest
end

-- Writes of a budget what was changed.
local function write(budget)
  local state = budget[STATE]
  if state == ALTERED or state == CHANGED and budget.large then
    redis.call('SET', budget[KEY], packed(budget))
  elseif state == CHANGED then
    redis.call('SETRANGE', budget[KEY], AMOUNTS_AT,
      struct.pack(AMOUNTS, unpack(budget, PRESENT + TOLD, PRESENT + DEAD)))
  end
end

local function write_all(budgets)
  for _, budget in pairs(budgets) do write(budget) end
end

-- How many budgets one command reads: a table is taken apart for it.
local AT_ONCE = 1000

-- Reads the budgets among KEYS from a place on. Answers them in that order, where one that is
-- named twice is the same; and each once, by its key's last part, by which holds name it.
local function read_budgets(from)
  local budgets, by_id = {}, {}
  for first = from, #KEYS, AT_ONCE do
    local last = math.min(#KEYS, first + AT_ONCE - 1)
    for i, kept in ipairs(redis.call('MGET', unpack(KEYS, first, last))) do
      local key = KEYS[first + i - 1]
      local id = string.sub(key, -32)
      local budget = by_id[id] or unpacked(key, kept)
      by_id[id], budgets[first + i - from] = budget, budget
    end
  end
  return budgets, by_id
end

-- Where the caps in force stand: of each kind -1 where there is none.
local function caps_of(budget, now) return now < budget[UNTIL] and RAISED or CAPS end

-- Adds what a number of Lua may not hold, or adds it to what one may not.
local function add_halves(window, at, low, high)
  local is = window.large and window.large[at]
    or { window[at] % HALF, math.floor(window[at] / HALF) }
  local sum = is[1] + low
  local carry = sum >= HALF and 1 or 0
  local halves = { sum - carry * HALF, is[2] + high + carry }
  window[at] = halves[2] * HALF + halves[1]
  window.large = window.large or {}
  window.large[at] = window[at] >= EXACT and halves or nil
end

local function add(window, at, more)
  local sum = window[at] + more
  if sum < EXACT and not window.large then
    window[at] = sum
  else
    add_halves(window, at, more % HALF, math.floor(more / HALF))
  end
end

-- Adds a number of eight bytes that begins at `place` in a text.
local function add_said(window, at, said, place)
  local low, high = struct.unpack('<I4i4', said, place)
  if high < EXACT / HALF and not window.large then
    add(window, at, high * HALF + low)
  else
    add_halves(window, at, low, high)
  end
end

-- Adds to three amounts that stand together.
local function add_all(window, at, money, requests, tokens)
  local m, r, t = window[at] + money, window[at + 1] + requests, window[at + 2] + tokens
  if m < EXACT and r < EXACT and t < EXACT and not window.large then
    window[at], window[at + 1], window[at + 2] = m, r, t
  else
    add(window, at, money)
    add(window, at + 1, requests)
    add(window, at + 2, tokens)
  end
end

-- Lets go of what was held, and never of more.
local function let_go(window, at, money, requests, tokens)
  local held = at + HELD
  local m, r, t = window[held], window[held + 1], window[held + 2]
  add_all(window, held, money < m and -money or -m, requests < r and -requests or -r,
    tokens < t and -tokens or -t)
end

-- The dead hold so much less of the money that is held.
local function is_alive(window, at, money)
  local dead = window[at + DEAD]
  add(window, at + DEAD, money < dead and -money or -dead)
end

-- The windows beside the present one, the latest first. Whoever asks is about to change them.
local function others_of(budget)
  budget[STATE] = ALTERED
  if not budget.others then
    local kept, windows = budget[KEPT], {}
    for i = 1, OTHERS do
      local first = SIZE + WINDOW_SIZE * (i - 1) + 1
      local it = { struct.unpack(WINDOW, kept, first) }
      if it[1] >= 0 then
        if budget[LARGE] ~= 0 then find_large(it, 1, 1, string.sub(kept, first)) end
        windows[#windows + 1] = it
      end
    end
    budget.others = windows
  end
  return budget.others
end

-- Keeps a window beside the present one, unless it is older than all that there is room for.
local function set_aside(budget, window)
  local windows = others_of(budget)
  local place = 1
  while windows[place] and windows[place][1] > window[1] do place = place + 1 end
  table.insert(windows, place, window)
  windows[OTHERS + 1] = nil
  return place <= OTHERS
end

-- The window of a budget that began at `from`, to be changed: a table and where in it that
-- stands. Nil for one that is forgotten.
local function window_of(budget, from)
  if from == budget[PRESENT] then
    if budget[STATE] ~= ALTERED then budget[STATE] = CHANGED end
    return budget, PRESENT
  end
  for _, it in ipairs(others_of(budget)) do
    if it[1] == from then return it, 1 end
  end
  local new = { from, 0, 0, 0, 0, 0, 0, 0, 0 }
  if set_aside(budget, new) then return new, 1 end
  return nil
end

-- Begins a window: puts the present one aside. What came in of the new one before anybody
-- began it is taken up. Who heals knows when a window began, and not when it ends: `till` is 0
-- then, until a call brings that.
local function turn(budget, from, till)
  local windows, new = others_of(budget), nil
  for i, it in ipairs(windows) do
    if it[1] == from then new = table.remove(windows, i) break end
  end
  if budget[PRESENT] >= 0 then
    local old = { unpack(budget, PRESENT, PRESENT + DEAD) }
    if budget.large then
      old.large = {}
      for n, halves in pairs(budget.large) do old.large[n - PRESENT + 1] = halves end
      budget.large = nil
    end
    set_aside(budget, old)
  end
  budget[PRESENT], budget[TILL] = from, till
  for n = 1, DEAD do budget[PRESENT + n] = new and new[1 + n] or 0 end
  if new and new.large then
    budget.large = {}
    for n, halves in pairs(new.large) do budget.large[n + PRESENT - 1] = halves end
  end
end

-- Sees to it that the present window is the one that `now` is in. `edges` are where the
-- windows meet that the caller knows of. A window that was begun ends when it was said
-- to, and the next begins there: no two overlap, whoever knows which edges. Answers
-- whether the caller knew enough.
local function present(budget, now, edges)
  local from, till = budget[PRESENT], budget[TILL]
  for i = 1, 3 do
    if now >= edges[i] and now < edges[i + 1] then
      if from >= edges[i] and till == 0 then
        budget[TILL], budget[STATE] = edges[i + 1], ALTERED
      else
        turn(budget, math.max(edges[i], till), edges[i + 1])
      end
      return true
    end
  end
  return false
end

-- A hold is written down as one such piece for each budget: its key's last part, its window,
-- and what is held of it. Before one of the dead stands since when, in as many bytes as SINCE.
local HOLD, HOLD_SIZE, SINCE = '<c32i8i8i8i8', 64, 8
-- What is said of one budget among ARGV: a window, and amounts.
local SAID = '<i8i8i8i8'

local function piece(budget, window, money, requests, tokens)
  return struct.pack(HOLD, string.sub(budget[KEY], -32), window, money, requests, tokens)
end
