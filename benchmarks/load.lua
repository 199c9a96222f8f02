-- wrk's script; prints what was measured as one line of JSON. Its arguments are one of
--   GET                                           the address it was given
--   PUT FILE CONTENT_TYPE                         the file
--   MIXED PATH FILE CONTENT_TYPE                  in turn GET of the path and PUT of the file
--   DOCUMENTS COUNT CLIENTS [FORMAT]              GET of any of so many documents (benchmarks/documents.py made them), or of
--                                                 what FORMAT makes of its client and its number

local requests = {}

local function read(name)
   local file = assert(io.open(name, "rb"))
   local text = file:read("*a")
   file:close()
   return text
end

local function put(file, content_type)
   wrk.method = "PUT"
   wrk.body = read(file)
   wrk.headers["Content-Type"] = content_type
end

function requests.GET() end

function requests.PUT(args)
   put(args[2], args[3])
end

function requests.MIXED(args)
   local get = wrk.format("GET", args[2])
   put(args[3], args[4])
   local turn = 0
   function request()
      turn = turn + 1
      return turn % 2 == 0 and get or wrk.format()
   end
end

function requests.DOCUMENTS(args)
   local count, clients = tonumber(args[2]), tonumber(args[3])
   local format = args[4] or "/clients/client-%d/documents/%d"
   math.randomseed(os.time())
   function request()
      local id = math.random(count)
      return wrk.format("GET", string.format(format, id % clients, id))
   end
end

function init(args)
   requests[args[1]](args)
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f}\n',
      summary.requests, summary.duration / 1e6,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
