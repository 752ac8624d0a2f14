-- The part of budgets in letting a call through, in two steps, so that whatever else a call
-- has to pass is asked in between: all of it passes, or nothing is held.

local SPENT_NOW, HELD_NOW = PRESENT + SPENT, PRESENT + HELD

-- Of what there is not enough in a budget, if so, and how much is lacking by the cap.
local function lack(budget, caps, wanted)
  local kind, lacks = 0, 0
  for n = 0, 2 do
    local most, want = budget[caps + n], wanted[n + 1]
    local short = budget[SPENT_NOW + n] + budget[HELD_NOW + n] + want - most
    local weight = most > 0 and short / most or short
    if most >= 0 and want > 0 and short > 0 and (kind == 0 or weight > lacks) then
      kind, lacks = n + 1, weight
    end
  end
  return kind, lacks
end

-- Looks at as many budgets as a call names. Those that were looked at before, by their place, are in
-- `budgets`; the others are made of what is `kept` of them, whose keys are behind KEYS `first`.
-- What is said of each begins at a place in a text: its own place, its caps' version, what to
-- hold in money, requests and tokens, and four edges of windows, in eight bytes each. Answers the
-- call's budgets, what to hold of them one after the other, and what stands against the call: a
-- word, the place of the budget among the call's, and of what there is not enough. Where several
-- have not enough, the one that lacks most.
local WANTED, WANTED_SIZE = '<i8i8i8i8i8', 72
local function look_at_budgets(budgets, kept, first, count, said, at, now)
  local own, all, against, index, kind, lacks = {}, {}, nil, 0, 0, 0
  for i = 1, count do
    local place, version, money, requests, tokens = struct.unpack(WANTED, said, at)
    local budget = budgets[place]
    if not budget then
      budget = unpacked(KEYS[first + place], kept[1 + place])
      budgets[place] = budget
    end
    own[i] = budget
    all[3 * i - 2], all[3 * i - 1], all[3 * i] = money, requests, tokens
    if budget[VERSION] == 0 or budget[VERSION] < version then
      if against ~= 'window' then against, index = 'terms', i end
    elseif now >= budget[TILL]
      and not present(budget, now, { struct.unpack(SAID, said, at + 40) }) then
      against, index = 'window', i
    elseif budget[HARD] == 1 then
      local caps = caps_of(budget, now)
      local m, r, t = budget[caps], budget[caps + 1], budget[caps + 2]
      if (m >= 0 and budget[SPENT_NOW] + budget[HELD_NOW] + money > m)
        or (r >= 0 and budget[SPENT_NOW + 1] + budget[HELD_NOW + 1] + requests > r)
        or (t >= 0 and budget[SPENT_NOW + 2] + budget[HELD_NOW + 2] + tokens > t) then
        local what, weight = lack(budget, caps, { money, requests, tokens })
        if what > 0 and (not against or against == 'spent' and weight > lacks) then
          against, index, kind, lacks = 'spent', i, what, weight
        end
      end
    end
    at = at + WANTED_SIZE
  end
  return own, all, against, index, kind
end

-- Holds what a call wants of all its budgets, under its name; once, if a cluster is asked again
-- that has heard it already. Then it answers in which windows that is held: one may have ended
-- meanwhile. The budgets are to be written afterwards.
local function take_budgets(own, all, holds, call)
  local pieces = {}
  for i, budget in ipairs(own) do
    pieces[i] = piece(budget, budget[PRESENT], all[3 * i - 2], all[3 * i - 1], all[3 * i])
  end
  if redis.call('HSETNX', holds, call, table.concat(pieces)) == 1 then
    for i, budget in ipairs(own) do
      if budget[STATE] ~= ALTERED then budget[STATE] = CHANGED end
      add_all(budget, HELD_NOW, all[3 * i - 2], all[3 * i - 1], all[3 * i])
    end
    return nil
  end
  local kept, windows = redis.call('HGET', holds, call), {}
  for i = 1, math.min(#own, #kept / HOLD_SIZE) do
    local _, window = struct.unpack(HOLD, kept, HOLD_SIZE * (i - 1) + 1)
    windows[i] = window
  end
  return windows
end

-- A budget as the caller is told of it: its window, which is the present one if the call is not
-- held in another, when that ends, then the cap (-1: none), what is spent and what is held in
-- money, requests and tokens.
local function told(budget, now, window)
  local caps = caps_of(budget, now)
  return struct.pack('<i8i8i8i8i8i8i8i8i8i8i8',
    math.max(0, window or budget[PRESENT]), budget[TILL],
    budget[caps], budget[SPENT_NOW], budget[HELD_NOW],
    budget[caps + 1], budget[SPENT_NOW + 1], budget[HELD_NOW + 1],
    budget[caps + 2], budget[SPENT_NOW + 2], budget[HELD_NOW + 2])
end
