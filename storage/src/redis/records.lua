-- Names, ids, and how what is read and written most is kept.
--
-- An id is text: the number of its hexadecimal digits as one letter of LENGTHS, then the digits. So
-- all 64 bits survive, ids one behind the other can be told apart, and order of text is order of
-- numbers. Numbers are microseconds, asks, stamps and counts, all below 2^53; none of them is ever
-- joined to a text but by `%.0f`, since `..` keeps 14 digits only.
local P, call, pack, unpacked = KEYS[1] .. ':', redis.call, struct.pack, struct.unpack
local LENGTHS = '0123456789abcdefg'
local NEVER = 9007199254740992

-- Records are fields one behind the other, which costs a quarter of what MessagePack does. Numbers are
-- doubles, none is -1 or ''.
--
-- The clock: raw reading, store clock, counter; whether the discipline is `Settle`; before when nothing
-- falls due and no closing ends; how many pools are waited for. Above 64 bytes: gates are in the same
-- hash, and Redis would search one of short fields from its beginning.
local CLOCK = '<dddddddxxxxxxxxx'
-- A user's gate: limit, held, waiting, version of the limit.
local USER = '<ddds'
-- An account: limit, held, waiting, last assignment, priority; OAuth, guard, listed, operator's word;
-- its pools. A survey reads the first seven.
local ACCOUNT, RANKED = '<dddddBBBBs', '<dddddBB'
-- A lease: tag, model, excluded, gate, line; ask, since, ttl, stamp, claim by, expires, end of patience.
-- A tag begins with a digit, so that no lease is taken for a tombstone.
local LEASE = '<sssssddddddd'

local function id_of(number)
    local digits = string.format('%x', number)
    return string.sub(LENGTHS, #digits + 1, #digits + 1) .. digits
end

-- The first id of several.
local function head(text)
    return string.sub(text, 1, string.find(LENGTHS, string.sub(text, 1, 1), 1, true))
end

-- Whether a list, which is empty or has a blank around every id, has this one.
local function has(list, id)
    return list ~= '' and string.find(list, ' ' .. id .. ' ', 1, true) ~= nil
end
