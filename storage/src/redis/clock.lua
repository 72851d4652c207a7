-- The machine's reading in microseconds. A part of its own, so that a test may put its own in place.
local function machine()
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2]
end
