-- Replaces a finished job's record by its packed form, and deletes its events. What a webhook's
-- attempt or a late worker may still read or change stays as it is.
-- ARGV: id, packed form.  Returns 1 | 0 if the job is gone or not finished
local id, key = ARGV[1], job_key(ARGV[1])
redis.call('ZREM', FINISHED, id)
local names = { 'state', 'epoch', 'webhook_state', 'webhook_attempts', 'webhook_reason' }
local values = redis.call('HMGET', key, unpack(names))
local state, left = values[1], redis.call('PTTL', key)
if not state or state == 'queued' or state == 'running' or left <= 0 then return 0 end
local last = redis.call('XREVRANGE', events_key(id), '+', '-', 'COUNT', 1)[1]
redis.call('DEL', key)
redis.call('HSET', key, 'packed', ARGV[2])
for place, name in ipairs(names) do
  if values[place] then redis.call('HSET', key, name, values[place]) end
end
if last then redis.call('HSET', key, 'last_event', last[1]) end
redis.call('PEXPIRE', key, left)
redis.call('DEL', events_key(id))
redis.call('DEL', ended_key(id))
return 1
