"""The store's operations on Redis and Valkey that have to be one step, in Lua."""

from hashlib import sha1

#: What a key holds as text; of foreign data, and without it, the other one. What else fails, as for
#: a user that may not GET, must not look as if there were none.
_TEXT = """
local function text(key, pattern, other)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then
    error(value.err)
  end
  return type(value) == 'string' and string.match(value, pattern) and value or other
end
"""


class Script:
    """A script, which the server knows by the hash of its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.name = sha1(text.encode(), usedforsecurity=False).hexdigest()


def _script(body: str) -> Script:
    return Script(_TEXT + body)


#: KEYS: lease, others, tags. ARGV: token, milliseconds, the entry's place among the keys, what the
#: entry begins with of which the tags are, and when its fill began. Takes the lease if no entry is
#: there, or that one and a tag makes it invalid; what else makes it so, the reader has to judge.
LOOK = Script("""
local values = redis.call('MGET', unpack(KEYS))
local place = tonumber(ARGV[3])
local entry = values[place]
local is_dead = not entry
if entry and ARGV[4] ~= '' and string.sub(entry, 1, #ARGV[4]) == ARGV[4] then
  for i = place + 1, #KEYS do
    local value = values[i]
    is_dead = is_dead or not value or #value ~= 16 or value > ARGV[5]
  end
end
if is_dead and redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then values[1] = ARGV[1] end
return values
""")

#: KEYS: tags. ARGV: token, a doubt's seconds, a tag's. The value's form is in tagstate.py.
MARK = _script("""
local until_ = redis.call('TIME')[1] + ARGV[2]
for _, tag in ipairs(KEYS) do
  local value = text(tag, '^%d+', '0')
  redis.call('SET', tag, value .. ' ' .. ARGV[1] .. ':' .. until_, 'EX', ARGV[3])
end
""")

#: KEYS: clock, tags. ARGV: token, a tag's seconds, the first timestamp, how far ahead one may be.
#: Timestamps are below 2^53, so Lua's numbers hold them exactly; %d keeps them from an exponent.
INVALIDATE = _script("""
local now = text(KEYS[1], '^%d+$', '0')
if #now ~= 16 or tonumber(now) < tonumber(ARGV[3]) then return nil end
local timestamp = redis.call('INCR', KEYS[1])
local seconds = tonumber(redis.call('TIME')[1])
local latest = seconds + ARGV[4]
for i = 2, #KEYS do
  local value = text(KEYS[i], '^%d+', '0')
  local kept = ''
  for token, until_ in string.gmatch(value, ' ([^ :]+):(%d+)') do
    if token ~= ARGV[1] and tonumber(until_) >= seconds and tonumber(until_) <= latest then
      kept = kept .. ' ' .. token .. ':' .. until_
    end
  end
  local old = tonumber(string.match(value, '^%d+'))
  if old > latest * 1000000 then old = 0 end
  redis.call('SET', KEYS[i], string.format('%d', math.max(old, timestamp)) .. kept, 'EX', ARGV[2])
end
return timestamp
""")

#: KEYS: entry, clock, lease, tags. ARGV: entry, milliseconds, a tag's seconds, the lease's token.
STORE_ENTRY = _script("""
local now = text(KEYS[2], '^%d+$', nil)
for i = 4, #KEYS do
  if now and not text(KEYS[i], '^%d+', nil) then redis.call('SET', KEYS[i], now, 'EX', ARGV[3]) end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[4] ~= '' and text(KEYS[3], '', '') == ARGV[4] then redis.call('DEL', KEYS[3]) end
""")

RELEASE = _script("""
if text(KEYS[1], '', '') == ARGV[1] then redis.call('DEL', KEYS[1]) end
""")
