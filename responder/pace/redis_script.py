"""What Redis does in one step of shared limits: `store.py` in Lua, on the server's own clock, with leases for places.

A hash for each key: the field `at` holds the three moments and when they were written, and a field for each process its
places, how many more it wants, when it asked last, since when it waits, and its lease.
"""

from __future__ import annotations

from responder.pace.store import HORIZON, PATIENCE, SEEN, WANTS, LimitStep


def arguments(step: LimitStep) -> list[str | int | float]:
    """Return a step as the script takes it."""
    costs = ",".join(map(repr, step.turns)) if any(step.turns) else ""
    return [
        step.process,
        len(step.turns),
        costs,
        step.interval,
        step.late,
        step.requests,
        step.tokens,
        step.pause,
        -1 if step.most is None else step.most,
        step.using,
        step.wanted,
        step.lease,
    ]


SCRIPT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local process, turns, interval, late = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local most, using, wanted, lease = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])

local function numbers(text)
    local found = {}
    for word in string.gmatch(text, '[^ ,]+') do found[#found + 1] = tonumber(word) or 0 end
    return found
end

local request, token, paused, written = 0, 0, 0, now
local others, gone = {}, {}
local row = redis.call('HGETALL', KEYS[1])
for index = 1, #row, 2 do
    local found = numbers(row[index + 1])
    if row[index] == 'at' then
        request, token, paused, written = found[1] or 0, found[2] or 0, found[3] or 0, found[4] or now
    else
        others[row[index]] = found
    end
end

-- The server's clock was set back, or this is another server: all moments go back with it.
local back = math.max(0, written - now)
local function moment(value)
    value = value - back
    if value > now + HORIZON then return 0 end
    return value
end
request = moment(request) + tonumber(ARGV[6])
token = moment(token) + tonumber(ARGV[7])
paused = moment(paused)
if tonumber(ARGV[8]) > 0 then paused = math.max(paused, now + tonumber(ARGV[8])) end

local since, active, held, processes = now, {}, 0, 1
for name, found in pairs(others) do
    local places, more, kept = found[1] or 0, found[2] or 0, found[5] or 0
    local asked, from = (found[3] or 0) - back, (found[4] or 0) - back
    if asked > now + 1 then asked = 0 end
    if now - asked >= kept then places = 0 end
    if now - asked >= WANTS then more = 0 end
    if name == process then
        if more > 0 then since = from end
    elseif now - asked >= math.max(SEEN, kept) then
        gone[#gone + 1] = name
    else
        processes = processes + 1
        if places > 0 or more > 0 then
            active[#active + 1] = {places, more, now - from}
            held = held + places
        end
    end
end

local places, kept, lacks = using, using, 0
if most >= 0 then
    local free = most - using - held
    local part = math.floor(most / (1 + #active))
    local lacked = 0
    for _, other in ipairs(active) do
        if part > 0 then
            lacked = lacked + math.min(other[2], math.max(0, part - other[1]))
        elseif other[2] > 0 and other[3] > math.max(now - since, PATIENCE) then
            lacked = lacked + 1
        end
    end
    local first = math.max(0, math.min(wanted, part - using, free))
    local more = first + math.max(0, math.min(wanted - first, free - first - lacked))
    kept = using + more
    lacks = wanted - more
    turns = math.min(turns, more)
    if lacks == 0 or more > 0 then since = now end
    places = kept
    if more == 0 then places = using - math.max(0, math.min(using - part, lacked - math.max(0, free))) end
end

local opens = now
if turns > 0 then
    local costs = numbers(ARGV[3])
    opens = math.max(now - late, paused)
    if interval > 0 then opens = math.max(opens, request) end
    if (costs[1] or 0) > 0 then opens = math.max(opens, token) end
    local last = opens
    for index = 1, turns - 1 do last = last + math.max(interval, costs[index] or 0) end
    request = math.max(last, request) + interval
    token = math.max(last, token) + (costs[turns] or 0)
end

redis.call('HSET', KEYS[1],
    'at', string.format('%.6f %.6f %.6f %.6f', request, token, paused, now),
    process, string.format('%d %d %.6f %.6f %.6f', kept, lacks, now, since, lease))
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
redis.call('PEXPIRE', KEYS[1], HORIZON * 1000)
return {turns, string.format('%.6f', opens - now), places, string.format('%.6f', math.max(0, paused - now)), processes}
"""
for _name, _value in (("HORIZON", HORIZON), ("PATIENCE", PATIENCE), ("SEEN", SEEN), ("WANTS", WANTS)):
    SCRIPT = SCRIPT.replace(_name, repr(_value))
