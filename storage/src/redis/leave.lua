-- Leave: out of a slot or line.
-- ARGV: node, key, fence, then the mark if there is one.
local function leave()
    if is_dead(ARGV[1]) then return 'lost' end
    local lease = lease_of(ARGV[1] .. ARGV[2])
    if lease then
        -- A mark counts when its lease holds a slot, claimed.
        if ARGV[4] and lease.gate and not lease.claim_by then fold(lease, 4) end
        remove(lease)
    end
    if ARGV[3] == '1' then
        write_leases()
        local ends = clock + TOMBSTONE
        call('HSET', P .. 'n:' .. ARGV[1], ARGV[2], string.format('X%.0f', ends))
        call('ZADD', P .. 'x:' .. ARGV[1], ends, ARGV[2])
    end
    return 'done'
end

begin()
return finish(leave())
