-- For the common cases of Enter and Leave, which come before everything else in their scripts. Making
-- the functions of the rest costs more than their work; so these are written without any, as blocks
-- that are left by `break` where a case does not apply. Until one does, nothing is written.
local node, key = P .. 'n:' .. ARGV[1], ARGV[2]
local session, c = call('HMGET', node, '@', key), call('HGET', P .. 'g', '@')
-- The lease as it is kept, and whether there is a tombstone in its place.
local kept = session[2]
local fenced = kept and string.sub(kept, 1, 1) == 'X'
-- Whether the session goes on, nothing is due, and the lease may be there; `c` is the clock's fields,
-- moved on.
local quiet = false
if c and session[1] and not fenced then
    c = { struct.unpack(CLOCK, c) }
    local gone = math.max(machine() - c[1], 0)
    c[1], c[2] = c[1] + gone, c[2] + math.min(gone, GAP_MAX)
    quiet = c[2] < c[5] and c[1] < c[6] and c[2] < tonumber(session[1])
end
-- A gate's first three fields are limit, held and waiting.
local gate, format, kind, name
