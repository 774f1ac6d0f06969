"""What Redis does to facts in one go. Each script is sent once, and then named by its digest."""

from __future__ import annotations

PREFIX = "council:memory:"

_HEAD = f"local P = '{PREFIX}'\n"
_UNFIND = """
local function unfind(id)
  local of = redis.call('HMGET', P..'fact:'..id, 'tenant', 'place', 'stems', 'model')
  local tenant, place = of[1], of[2]
  redis.call('ZREM', P..'of:'..tenant, id)
  redis.call('ZREM', P..'of:'..tenant..':'..place, id)
  redis.call('ZREM', P..'ids', id)
  for stem in string.gmatch(of[3], '%S+') do
    redis.call('ZREM', P..'stem:'..tenant..':'..place..':'..stem, id)
  end
  if of[4] then redis.call('SREM', P..'vectors:'..of[4], id) end
  redis.call('HDEL', P..'fact:'..id, 'model', 'vector')
  if redis.call('EXISTS', P..'of:'..tenant) == 0 then redis.call('SREM', P..'tenants', tenant) end
  redis.call('INCR', P..'version')
end
"""
_ATTACH = """
local function attach(id, model, vector)
  local before = redis.call('HGET', P..'fact:'..id, 'model')
  if before and before ~= model then redis.call('SREM', P..'vectors:'..before, id) end
  redis.call('HSET', P..'fact:'..id, 'model', model, 'vector', vector)
  redis.call('SADD', P..'vectors:'..model, id)
end
"""

DONE = (
    _HEAD
    + """
if redis.call('GET', P..'rewrite') == ARGV[1] then redis.call('DEL', P..'rewrite') end
"""
)
"""What was forgotten by then is out of the file; who forgot something since has put another mark there."""

KEEP = (
    _HEAD
    + _ATTACH
    + """
local id, tenant, place, session, text, marked, told, stems, model, vector = unpack(ARGV)
if redis.call('ZSCORE', P..'ids', id) then return 0 end
for _, what in ipairs({':all', ':in:'..place, ':fact:'..id}) do
  local at = redis.call('GET', P..'forgotten:'..tenant..what)
  if at and tonumber(at) > tonumber(told) then return 0 end
end
redis.call('ZREM', P..'old:'..tenant, id)
redis.call('HDEL', P..'fact:'..id, 'archived_at')
redis.call('HSET', P..'fact:'..id, 'tenant', tenant, 'place', place, 'session', session, 'text', text,
  'marked', marked, 'told_at', told, 'stems', stems)
redis.call('ZADD', P..'of:'..tenant, told, id)
redis.call('ZADD', P..'of:'..tenant..':'..place, told, id)
redis.call('ZADD', P..'ids', 0, id)
redis.call('SADD', P..'tenants', tenant)
for stem in string.gmatch(stems, '%S+') do
  redis.call('ZADD', P..'stem:'..tenant..':'..place..':'..stem, told, id)
end
if vector ~= '' then attach(id, model, vector) end
redis.call('INCR', P..'version')
return 1
"""
)
"""One fact with what finds it. 1 when it was taken in."""

VECTOR = (
    _HEAD
    + _ATTACH
    + """
local id, model, vector = unpack(ARGV)
if not redis.call('ZSCORE', P..'ids', id) then return 0 end
attach(id, model, vector)
redis.call('INCR', P..'version')
return 1
"""
)
"""The vector of a fact that is in sight. 1 when it was kept."""

DROP = (
    _HEAD
    + _UNFIND
    + """
local tenant, place, one = ARGV[1], ARGV[2], ARGV[3]
local gone = {}
for i = 4, #ARGV do
  local id = ARGV[i]
  local of = redis.call('HMGET', P..'fact:'..id, 'tenant', 'place')
  if of[1] == tenant and (one == '0' or of[2] == place) then
    unfind(id)
    redis.call('ZREM', P..'old:'..tenant, id)
    redis.call('DEL', P..'fact:'..id)
    gone[#gone + 1] = id
  end
end
return gone
"""
)
"""Delete those of these facts that are the tenant's, and the session's where one is meant."""

ARCHIVE = (
    _HEAD
    + _UNFIND
    + """
local tenant, now, before = ARGV[1], ARGV[2], ARGV[3]
local gone = {}
for i = 4, #ARGV do
  local id = ARGV[i]
  local told = redis.call('ZSCORE', P..'of:'..tenant, id)
  if told and tonumber(told) < tonumber(before) then
    unfind(id)
    redis.call('HSET', P..'fact:'..id, 'archived_at', now)
    redis.call('ZADD', P..'old:'..tenant, now, id)
    gone[#gone + 1] = id
  end
end
return gone
"""
)
"""Take these out of sight; their text stays."""
