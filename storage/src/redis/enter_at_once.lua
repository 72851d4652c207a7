-- The common cases of Enter, on a gate that is open: a new lease gets a slot where nobody waits, or
-- its place in the gate's own line where there is none; a known one claims its grant.
local ask, tag = tonumber(ARGV[3]), ARGV[4]
local lease, full, reply

-- The gate: what the lease has, or else the best that it wants.
repeat
    if not quiet then break end
    if kept then
        lease = { unpacked(LEASE, kept) }
        local its = lease[4]
        if ask <= lease[6] or lease[5] ~= '' or string.sub(its, 1, 1) ~= kind then break end
        if its ~= name then
            if not pool then break end
            name, gate = its, call('HGET', P .. 'g', its)
        end
    elseif pool and (pools_waited > 0 or not ARGV[12]) then
        break
    end
    if kind == 'u' then
        local wanted = tonumber(ARGV[9])
        limit, held, waiting, version = wanted, 0, 0, ARGV[11]
        if gate then limit, held, waiting, version = unpacked(USER, gate) end
        if limit ~= wanted or version ~= ARGV[11] then break end
    else
        if not gate then break end
        limit, held, waiting, last, priority, oauth, guard, listed, operator, pools =
            unpacked(ACCOUNT, gate)
        if guard == 2 then break end
        if pool and (has(ARGV[11], string.sub(name, 2)) or not has(pools, pool)) then break end
    end
    if limit == 0 then break end
    full = limit >= 0 and held >= limit
    -- Not before those who wait, though there be room.
    if waiting > 0 and not full and (kind == 'u' or not lease) then break end
    if full and not lease and (pool or waiting >= tonumber(ARGV[10])) then break end
    applies = true
until true

-- The grant is claimed, or was before.
if applies and lease then
    local claim_by, expires = lease[10], lease[11]
    if tag ~= '' then lease[1] = tag end
    lease[6], lease[10] = ask, -1
    call('HSET', node, key, pack(LEASE, unpack(lease)))
    if claim_by >= 0 and expires >= 0 then
        call('ZADD', P .. 'due', expires, ARGV[1] .. key)
        due_from = math.min(due_from, expires)
    elseif claim_by >= 0 then
        call('ZREM', P .. 'due', ARGV[1] .. key)
    end
    reply = { 'held', name, lease[1], 0 }
end

-- A new lease holds a slot, or waits for one.
if applies and not lease then
    if tag == '' then tag, counter = id_of(counter), counter + 1 end
    local ends = math.min(clock + (tonumber(ARGV[5]) or 0), NEVER)
    local ttl, stamp, due = tonumber(ARGV[6]) or -1, 0, -1
    if full then
        due = ends
    else
        stamp, counter = counter, counter + 1
        if ttl >= 0 then due = math.min(clock + ttl, NEVER) end
    end
    call('HSET', node, key, pack(LEASE, tag, kind == 'u' and '10' or ARGV[9],
        pool and ARGV[11] or '', full and '' or name, full and name or '', ask, raw, ttl, stamp, -1,
        full and -1 or due, ends))
    if due >= 0 then
        call('ZADD', P .. 'due', due, ARGV[1] .. key)
        due_from = math.min(due_from, due)
    end
    if full then
        local line, place, before = P .. 'l:' .. name, tag .. ARGV[1] .. key, 0
        call('ZADD', line, 0, place)
        if waiting > 0 then
            before = call('ZRANK', line, place)
        else
            call('SADD', P .. 'waited:g', name)
        end
        waiting, reply = waiting + 1, { 'waiting', before + 1, tag, '' }
    else
        held, last, reply = held + 1, stamp, { 'held', name, tag, 0 }
    end
end

if reply then
    time = pack(CLOCK, raw, clock, counter, settles, due_from, open_from, pools_waited)
    if kind == 'u' then
        gate = pack(USER, limit, held, waiting, version)
    else
        gate = pack(ACCOUNT, limit, held, waiting, last, priority, oauth, guard, listed, operator, pools)
    end
    call('HSET', P .. 'g', '@', time, name, gate)
    return reply
end
