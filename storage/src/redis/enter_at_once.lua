-- The common case of Enter, before the functions that all others need are even made, which costs more
-- than the work itself: a new lease, a gate that is open and has room, nobody in a line, nothing due.
do
    local P, call = KEYS[1] .. ':', redis.call
    local function hold()
        local session = call('HMGET', P .. 'n:' .. ARGV[1], '@', ARGV[2])
        local kept = call('GET', P .. 'clock')
        if not kept or not session[1] or session[2] then return nil end
        local c, now = cmsgpack.unpack(kept), machine()
        local gone = math.max(now - c[1], 0)
        c[1], c[2] = c[1] + gone, c[2] + math.min(gone, GAP_MAX)
        local raw, clock = c[1], c[2]
        if clock >= c[5] or raw >= c[6] or clock >= tonumber(session[1]) then return nil end
        local kind, id = ARGV[7], ARGV[8]
        local model, excluded = ARGV[9], ''
        if kind == 'p' then
            if c[7] > 0 or not ARGV[12] then return nil end
            kind, id, excluded = 'a', ARGV[12], ARGV[11]
        end
        kept = call('HGET', P .. kind, id)
        local gate = kept and cmsgpack.unpack(kept)
        if kind == 'u' then
            local limit = tonumber(ARGV[9])
            gate = gate or { limit, 0, 0, ARGV[11] }
            if gate[1] ~= limit or gate[4] ~= ARGV[11] then return nil end
            model = '10'
        elseif not gate or gate[7] == 2 then
            return nil
        elseif ARGV[7] == 'p' and (string.find(excluded, ' ' .. id .. ' ', 1, true)
            or not string.find(gate[10], ' ' .. ARGV[8] .. ' ', 1, true)) then
            return nil
        end
        if gate[3] > 0 or gate[1] >= 0 and gate[2] >= gate[1] then return nil end
        local tag = ARGV[4]
        if tag == '' then
            local digits = string.format('%x', c[3])
            tag = string.sub('0123456789abcdefg', #digits + 1, #digits + 1) .. digits
            c[3] = c[3] + 1
        end
        local stamp, never = c[3], 9007199254740992
        c[3], gate[2] = stamp + 1, gate[2] + 1
        if kind == 'a' then gate[4] = stamp end
        local patience, ttl = tonumber(ARGV[5]) or 0, tonumber(ARGV[6]) or false
        local expires = ttl and math.min(clock + ttl, never)
        call('HSET', P .. 'n:' .. ARGV[1], ARGV[2], cmsgpack.pack({
            tonumber(ARGV[3]), tag, raw, model, excluded, ttl, kind .. id, stamp, false, expires,
            false, math.min(clock + patience, never),
        }))
        call('HSET', P .. kind, id, cmsgpack.pack(gate))
        if expires then
            call('ZADD', P .. 'due', expires, ARGV[1] .. ARGV[2])
            c[5] = math.min(c[5], expires)
        end
        call('SET', P .. 'clock', cmsgpack.pack(c))
        return { 'held', kind .. id, tag, 0 }
    end
    local reply = hold()
    if reply then return reply end
end
