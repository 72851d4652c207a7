-- Session: which account a session is bound to. A bounded table: what ends first gives way.
-- ARGV: key, what to do, the account, for how long, the home that the caller believes in.
local key, ends = ARGV[1], P .. 'ends'

local function home()
    local at = call('ZSCORE', ends, key)
    return at and raw < tonumber(at) and call('HGET', P .. 's', key) or ''
end

local function forget_binding(other)
    call('ZREM', ends, other)
    call('HDEL', P .. 's', other)
end

local function bind(account, span)
    forget_binding(key)
    if call('ZCARD', ends) >= SESSIONS_MAX then
        forget_binding(call('ZRANGE', ends, 0, 0)[1])
    end
    call('HSET', P .. 's', key, account)
    call('ZADD', ends, later(raw, span), key)
end

local function session()
    local over = call('ZRANGEBYSCORE', ends, '-inf', raw, 'LIMIT', 0, SWEEP_MAX)
    for _, other in ipairs(over) do forget_binding(other) end
    local known = home()
    if known == ARGV[5] then
        if ARGV[2] == 'bind' then
            bind(ARGV[3], tonumber(ARGV[4]))
        elseif ARGV[2] == 'drop' then
            forget_binding(key)
        elseif known ~= '' then
            bind(known, tonumber(ARGV[4]))
        end
    end
    return { 'home', home() }
end

begin()
return finish(session())
