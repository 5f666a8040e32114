"""Jobs in Redis: one hash and one list per job, changed by scripts so that no two instances see half a change.

    batch:job:ID        hash: request, status, due, seq, run, worker, reached, told, woken, forget
    batch:job:ID:log    list of changes
    batch:job:ID:dead   hash: runs that died in a row; 1 where nobody else can have caused it, else 0
    batch:key:KEY       the job that an idempotency key names
    batch:order:ORDER   set of the order's jobs that have not ended
    batch:runs:WORKER   set of the runs that a worker has, or had when it died
    batch:due           sorted set: when each job's next step may begin
    batch:status:S      sorted set of jobs in a state, by the moment they expire
    batch:changed       channel: ids of jobs that have changed
    batch:news          channel: ids of orders of which there is news

`seq` numbers a job's steps: a message from the queue that names an older one is void. `reached` is the most images that
any run got to. `told` names what a run added last: it may be told twice. `forget` is when a job goes that has ended and
has no step to come. A run whose lease has ended is taken for dead; when it lets go after all, it is not.
"""

_CHANGE = """
local ended = {complete=true, error=true, cancelled=true}
local function append(id, change)
  local job, log = 'batch:job:' .. id, 'batch:job:' .. id .. ':log'
  redis.call('RPUSH', log, change)
  local told = cjson.decode(change)
  if told.status then
    local before = redis.call('HGET', job, 'status')
    if before then redis.call('ZREM', 'batch:status:' .. before, id) end
    redis.call('HSET', job, 'status', told.status)
    redis.call('ZADD', 'batch:status:' .. told.status, told.expires or '+inf', id)
    if ended[told.status] then
      redis.call('SREM', 'batch:order:' .. redis.call('HGET', job, 'order'), id)
      redis.call('HDEL', job, 'woken')
      if told.expires then redis.call('HSET', job, 'forget', math.floor(told.expires + 86400)) end
    end
  end
  redis.call('PUBLISH', 'batch:changed', id)
end
local function schedule(id, due)
  local job = 'batch:job:' .. id
  local seq = redis.call('HINCRBY', job, 'seq', 1)
  redis.call('HSET', job, 'due', due, 'run', '')
  redis.call('ZADD', 'batch:due', due, id)
  return seq
end
"""

SUBMIT = (
    _CHANGE
    + """
-- ARGV: id, order, request, change, due, key ('' = none), forget (epoch seconds, of the key). Returns the id that the
-- key named already, or ''.
local id, name = ARGV[1], 'batch:key:' .. ARGV[6]
if redis.call('EXISTS', 'batch:job:' .. id) == 1 then return '' end  -- asked again: the answer was lost
if ARGV[6] ~= '' then
  local known = redis.call('GET', name)
  if known and redis.call('EXISTS', 'batch:job:' .. known) == 1 then return known end
  redis.call('SET', name, id, 'EXAT', ARGV[7])
end
redis.call('HSET', 'batch:job:' .. id, 'request', ARGV[3], 'order', ARGV[2], 'seq', 0)
redis.call('SADD', 'batch:order:' .. ARGV[2], id)
append(id, ARGV[4])
schedule(id, ARGV[5])
return ''
"""
)

CLAIM = """
-- ARGV: id, seq, token, worker. Returns the deaths that it is blamed for, or nil when the step is void.
local job = 'batch:job:' .. ARGV[1]
if redis.call('HGET', job, 'seq') ~= ARGV[2] then return nil end
local before = redis.call('HGET', job, 'run')
if before and before ~= '' and before ~= ARGV[3] then  -- its lease has ended
  local together = redis.call('SCARD', 'batch:runs:' .. (redis.call('HGET', job, 'worker') or ''))
  redis.call('HSET', job .. ':dead', before, together == 1 and 1 or 0)
  redis.call('EXPIRE', job .. ':dead', 86400)
end
redis.call('SADD', 'batch:runs:' .. ARGV[4], ARGV[3])
redis.call('EXPIRE', 'batch:runs:' .. ARGV[4], 86400)
redis.call('HSET', job, 'run', ARGV[3], 'worker', ARGV[4])
redis.call('HDEL', job, 'woken', 'due')
redis.call('ZREM', 'batch:due', ARGV[1])
local blamed = 0
for _, alone in ipairs(redis.call('HVALS', job .. ':dead')) do blamed = blamed + alone end
return blamed
"""

PROGRESS = (
    _CHANGE
    + """
-- ARGV: id, token, images it got to now, a name for what it tells, changes. Returns 1, or 0 when the job is lost to it.
local job = 'batch:job:' .. ARGV[1]
if redis.call('HGET', job, 'run') ~= ARGV[2] then return 0 end
if redis.call('HGET', job, 'told') == ARGV[4] then return 1 end  -- told again: the answer was lost
redis.call('HSET', job, 'told', ARGV[4])
for at = 5, #ARGV do append(ARGV[1], ARGV[at]) end
if tonumber(ARGV[3]) > tonumber(redis.call('HGET', job, 'reached') or 0) then
  redis.call('HSET', job, 'reached', ARGV[3])
  redis.call('DEL', job .. ':dead')
end
return 1
"""
)

LET_GO = (
    _CHANGE
    + """
-- ARGV: id, token, worker, due ('' = none), ending, now. Returns seq and due of the next step, or nil for none.
local job = 'batch:job:' .. ARGV[1]
redis.call('SREM', 'batch:runs:' .. ARGV[3], ARGV[2])
if redis.call('HGET', job, 'run') ~= ARGV[2] then
  redis.call('HDEL', job .. ':dead', ARGV[2])
  return nil
end
redis.call('HSET', job, 'run', '')
redis.call('HINCRBY', job, 'seq', 1)  -- whoever is still told of this step comes too late
if ARGV[5] == 'done' then redis.call('DEL', job .. ':dead') end
if ARGV[5] == 'broken' then
  redis.call('HSET', job .. ':dead', 'broken ' .. ARGV[2], 1)
  redis.call('EXPIRE', job .. ':dead', 86400)
end
local due = ARGV[4]
if redis.call('HGET', job, 'woken') then due = ARGV[6] end
redis.call('HDEL', job, 'woken')
if due ~= '' then return {schedule(ARGV[1], due), due} end
local forget = redis.call('HGET', job, 'forget')  -- not before: callbacks may be attempted for longer
if forget then
  redis.call('EXPIREAT', job, forget)
  redis.call('EXPIREAT', job .. ':log', forget)
end
return nil
"""
)

CANCEL = (
    _CHANGE
    + """
-- ARGV: id, change, now. Returns the seq of the step that follows, or nil when there is nothing to cancel.
local job = 'batch:job:' .. ARGV[1]
local status = redis.call('HGET', job, 'status')
if not status or ended[status] then return nil end
append(ARGV[1], ARGV[2])
redis.call('DEL', job .. ':dead')
return schedule(ARGV[1], ARGV[3])
"""
)

RENEW = (
    _CHANGE
    + """
-- ARGV: id, change, now. Returns the seq of the step that follows, or nil when there is none (yet).
local job = 'batch:job:' .. ARGV[1]
local status = redis.call('HGET', job, 'status')
if not status or not ended[status] then return nil end
append(ARGV[1], ARGV[2])
redis.call('PERSIST', job)
redis.call('PERSIST', job .. ':log')
local run = redis.call('HGET', job, 'run')
if run and run ~= '' then redis.call('HSET', job, 'woken', 1) return nil end
return schedule(ARGV[1], ARGV[3])
"""
)

WAKE = (
    _CHANGE
    + """
-- ARGV: order, now. Returns ids and seqs of the steps that are due now, one after the other.
redis.call('PUBLISH', 'batch:news', ARGV[1])
local steps = {}
for _, id in ipairs(redis.call('SMEMBERS', 'batch:order:' .. ARGV[1])) do
  local job = 'batch:job:' .. id
  local run = redis.call('HGET', job, 'run')
  if run and run ~= '' then
    redis.call('HSET', job, 'woken', 1)
  elseif tonumber(redis.call('HGET', job, 'due') or '0') > tonumber(ARGV[2]) then
    table.insert(steps, id)
    table.insert(steps, schedule(id, ARGV[2]))
  end
end
return steps
"""
)
