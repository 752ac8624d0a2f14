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

-- A hold is written down as one such piece for each budget: its key's last part, its window,
-- and what is held of it. Before one of the dead stands since when, in as many bytes as SINCE.
local HOLD, HOLD_SIZE, SINCE = '<c32i8i8i8i8', 64, 8
-- What is said of one budget among ARGV: a window, and amounts.
local SAID = '<i8i8i8i8'

local function piece(budget, window, money, requests, tokens)
  return struct.pack(HOLD, string.sub(budget[KEY], -32), window, money, requests, tokens)
end
