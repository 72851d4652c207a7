-- Time, and what else every operation reads first and writes last.

-- So long after; nothing comes after NEVER.
local function later(at, span)
    return math.min(at + span, NEVER)
end

-- The raw reading, the store clock, the counter; whether the discipline is `Settle`; before when
-- nothing falls due and no closing ends; how many pools are waited for.
local raw, clock, counter, settles, due_from, open_from, pools_waited

local function read_clock()
    local kept = call('HGET', P .. 'g', '@')
    if not kept then return false end
    raw, clock, counter, settles, due_from, open_from, pools_waited = unpacked(CLOCK, kept)
    settles = settles == 1
    return true
end

local function write_clock()
    call('HSET', P .. 'g', '@', pack(CLOCK, raw, clock, counter, settles and 1 or 0, due_from,
        open_from, pools_waited))
end

local function advance()
    local now = machine()
    if read_clock() then
        local gone = math.max(now - raw, 0)
        raw, clock = raw + gone, clock + math.min(gone, GAP_MAX)
    else
        raw, clock, counter, settles = now, now, math.max(now, 1), true
        due_from, open_from, pools_waited = NEVER, NEVER, 0
        call('SET', P .. 'epoch', counter)
    end
end

local function draw()
    counter = counter + 1
    return counter - 1
end
