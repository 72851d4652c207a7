-- For the common cases of Enter and Leave, which come before everything else in their scripts. Making
-- the functions of the rest costs more than their work; so these are written without functions and with
-- few tables, as blocks that are left by `break` where a case does not apply. Until one does, nothing is
-- written. What is read with the clock is said by each of them before.
local node, key = P .. 'n:' .. ARGV[1], ARGV[2]
local session = call('HMGET', node, '@', key)
local kept = session[2]
-- The clock, moved on; whether the session goes on, nothing is due, and there is no tombstone.
local raw, clock, counter, settles, due_from, open_from, pools_waited
local quiet = false
if time and session[1] and not (kept and string.sub(kept, 1, 1) == 'X') then
    raw, clock, counter, settles, due_from, open_from, pools_waited = unpacked(CLOCK, time)
    local gone = math.max(machine() - raw, 0)
    raw, clock = raw + gone, clock + math.min(gone, GAP_MAX)
    quiet = clock < due_from and raw < open_from and clock < tonumber(session[1])
end

-- The gate, what is kept of it, and whether the case applies to it.
local applies = false
local limit, held, waiting, version
local last, priority, oauth, guard, listed, operator, pools
