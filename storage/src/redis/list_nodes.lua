-- Which nodes have a session, or had one that is not reaped yet: for operators.
-- Answers of each its id and its instance, by the end of their sessions.
local P, reply = KEYS[1] .. ':', {}
for _, node in ipairs(redis.call('ZRANGE', P .. 'nodes', 0, -1)) do
    reply[#reply + 1] = node
    reply[#reply + 1] = redis.call('HGET', P .. 'names', node) or ''
end
return reply
