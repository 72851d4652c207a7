-- The common cases of Enter, on a gate that is open: a new lease gets a slot where nobody waits, or
-- its place in the gate's own line where there is none; a known one claims its grant.
local ask, tag, pool = tonumber(ARGV[3]), ARGV[4], ARGV[7] == 'p' and ARGV[8]
local lease, full, reply

-- The gate: what the lease has, or else the best that it wants.
repeat
    if not quiet then break end
    kind = pool and 'a' or ARGV[7]
    if kept then
        lease = { struct.unpack(LEASE, kept) }
        name = lease[4]
        if ask <= lease[6] or lease[5] ~= '' or string.sub(name, 1, 1) ~= kind then break end
        if not pool and name ~= kind .. ARGV[8] then break end
    else
        if pool and (c[7] > 0 or not ARGV[12]) then break end
        name = kind .. (pool and ARGV[12] or ARGV[8])
    end
    format = kind == 'u' and USER or ACCOUNT
    local found = call('HGET', P .. 'g', name)
    found = found and { struct.unpack(format, found) }
    if kind == 'u' then
        local limit = tonumber(ARGV[9])
        found = found or { limit, 0, 0, ARGV[11] }
        if found[1] ~= limit or found[4] ~= ARGV[11] then break end
    elseif not found or found[7] == 2 then
        break
    elseif pool and (has(ARGV[11], string.sub(name, 2)) or not has(found[10], pool)) then
        break
    end
    if found[1] == 0 then break end
    full = found[1] >= 0 and found[2] >= found[1]
    -- Not before those who wait, though there be room.
    if found[3] > 0 and not full and (kind == 'u' or not lease) then break end
    if full and not lease and (pool or found[3] >= tonumber(ARGV[10])) then break end
    gate = found
until true

-- The grant is claimed, or was before.
if gate and lease then
    local claim_by, expires = lease[10], lease[11]
    if tag ~= '' then lease[1] = tag end
    lease[6], lease[10] = ask, -1
    call('HSET', node, key, struct.pack(LEASE, unpack(lease)))
    if claim_by >= 0 and expires >= 0 then
        call('ZADD', P .. 'due', expires, ARGV[1] .. key)
        c[5] = math.min(c[5], expires)
    elseif claim_by >= 0 then
        call('ZREM', P .. 'due', ARGV[1] .. key)
    end
    reply = { 'held', name, lease[1], 0 }
end

-- A new lease holds a slot, or waits for one.
if gate and not lease then
    if tag == '' then tag, c[3] = id_of(c[3]), c[3] + 1 end
    local ends = math.min(c[2] + (tonumber(ARGV[5]) or 0), NEVER)
    local ttl, stamp, due = tonumber(ARGV[6]) or -1, 0, -1
    if full then
        due = ends
    else
        stamp, c[3] = c[3], c[3] + 1
        if ttl >= 0 then due = math.min(c[2] + ttl, NEVER) end
    end
    call('HSET', node, key, struct.pack(LEASE, tag, kind == 'u' and '10' or ARGV[9],
        pool and ARGV[11] or '', full and '' or name, full and name or '', ask, c[1], ttl, stamp, -1,
        full and -1 or due, ends))
    if due >= 0 then
        call('ZADD', P .. 'due', due, ARGV[1] .. key)
        c[5] = math.min(c[5], due)
    end
    if full then
        local line, place, before = P .. 'l:' .. name, tag .. ARGV[1] .. key, 0
        call('ZADD', line, 0, place)
        if gate[3] > 0 then
            before = call('ZRANK', line, place)
        else
            call('SADD', P .. 'waited:g', name)
        end
        gate[3], reply = gate[3] + 1, { 'waiting', before + 1, tag, '' }
    else
        gate[2], reply = gate[2] + 1, { 'held', name, tag, 0 }
        if kind == 'a' then gate[4] = stamp end
    end
end

if reply then
    call('HSET', P .. 'g', '@', struct.pack(CLOCK, unpack(c)), name, struct.pack(format, unpack(gate)))
    return reply
end
