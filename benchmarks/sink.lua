-- An S3 server that throws the bytes of models away and remembers names and sizes, for nginx's Lua module.
-- Every body is read to its end before the answer: clients stop sending once they are answered.
-- Documents (all that is no part of a model) are kept, since uploaders read their own back.
-- Signatures are not checked. A listing is what was uploaded, so that it can be compared with what should have been.

local objects, documents, uploads = ngx.shared.objects, ngx.shared.documents, ngx.shared.uploads
local method, uri, headers = ngx.req.get_method(), ngx.var.uri, ngx.req.get_headers(0)
local args = ngx.req.get_uri_args(0)
ngx.req.clear_header("If-None-Match") -- nginx would make a 304 of our answer
local XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
local NO_MD5 = '"' .. string.rep("0", 32) .. '-1"' -- the dash says that it is no MD5
local DOCUMENT_MOST = 2 ^ 20

local function answer(status, body)
  ngx.status = status
  ngx.header["x-amz-request-id"] = "sink"
  ngx.header["Content-Type"] = "application/xml"
  ngx.header["Content-Length"] = body and #body or 0
  if body and method ~= "HEAD" then ngx.print(body) end
  return ngx.exit(ngx.OK)
end

local function xml(text) return answer(200, XML .. text) end

local function refuse(status, code)
  return answer(status, XML .. "<Error><Code>" .. code .. "</Code><Message>" .. code .. "</Message></Error>")
end

local function escape(text) return (text:gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;"):gsub('"', "&quot;")) end

local function unescape(text)
  return (text:gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&quot;", '"'):gsub("&#34;", '"'):gsub("&apos;", "'")
    :gsub("&amp;", "&"))
end

local function kept(key) return not (key:find("%.safetensors$") or key:find("%.txt$")) end

-- aws-chunked: SIZE[;signature] CRLF bytes CRLF ... 0 CRLF trailers
local function dechunk(body)
  local pieces, at = {}, 1
  while true do
    local _, stop, size = body:find("^(%x+)[^\r]*\r\n", at)
    if not stop or tonumber(size, 16) == 0 then return table.concat(pieces) end
    pieces[#pieces + 1] = body:sub(stop + 1, stop + tonumber(size, 16))
    at = stop + tonumber(size, 16) + 3
  end
end

-- Read the request's body: its size, and its bytes where they are wanted.
local function read(wanted)
  local length = tonumber(headers["content-length"])
  if length == 0 then return 0, "" end
  local pieces, size = {}, 0
  if length and not wanted then
    local socket = assert(ngx.req.socket())
    while size < length do
      local piece, err = socket:receiveany(262144)
      if not piece then ngx.log(ngx.ERR, "body: ", err) return ngx.exit(499) end
      size = size + #piece
    end
  else
    ngx.req.read_body()
    local body = ngx.req.get_body_data() or ""
    if (headers["content-encoding"] or ""):find("aws-chunked", 1, true) then body = dechunk(body) end
    pieces, size = { body }, #body
  end
  return tonumber(headers["x-amz-decoded-content-length"]) or size, table.concat(pieces)
end

local function etag()
  local md5 = headers["content-md5"] and ngx.decode_base64(headers["content-md5"])
  if not md5 then return NO_MD5 end
  return '"' .. md5:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end) .. '"'
end

local function checksum()
  for name, value in pairs(headers) do
    if name:find("^x%-amz%-checksum%-") and name ~= "x-amz-checksum-algorithm" and name ~= "x-amz-checksum-type" then
      ngx.header[name] = value
      return name:match("([^-]+)$"):upper(), value
    end
  end
end

-- One line each: size, ETag, time; then headers to repeat.
local function record(size, tag, said)
  local lines = { size, tag, ngx.time() }
  for name, value in pairs(said) do
    if name:find("^x%-amz%-meta%-") and type(value) == "string" then lines[#lines + 1] = name .. ": " .. value end
  end
  return table.concat(lines, "\n")
end

local function fields(text)
  local size, tag, time, rest = text:match("^(%d+)\n([^\n]*)\n(%d+)(.*)$")
  return tonumber(size), tag, tonumber(time), rest
end

-- Store a record, unless a condition of the request forbids it.
local function store(key, text)
  if headers["if-none-match"] == "*" then return (objects:add(key, text)) end
  assert(objects:set(key, text))
  return true
end

local function iso(time) return os.date("!%Y-%m-%dT%H:%M:%S.000Z", time) end

local function put_object(key)
  local copied = headers["x-amz-copy-source"]
  if copied then
    local found = objects:get("/" .. ngx.unescape_uri(copied):gsub("^/", ""))
    if not found then return refuse(404, "NoSuchKey") end
    store(key, found)
    return xml("<CopyObjectResult><ETag>" .. escape(NO_MD5) .. "</ETag><LastModified>" .. iso(ngx.time())
      .. "</LastModified></CopyObjectResult>")
  end
  local size, body = read(kept(key))
  if not store(key, record(size, etag(), headers)) then return refuse(412, "PreconditionFailed") end
  if kept(key) and size <= DOCUMENT_MOST then documents:set(key, body) else documents:delete(key) end
  ngx.header["ETag"] = etag()
  checksum()
  return answer(200)
end

local function put_part(id, number)
  if not uploads:get(id) then return refuse(404, "NoSuchUpload") end
  local size = read(false)
  ngx.header["ETag"] = etag()
  local name, value = checksum()
  uploads:set(id .. "/" .. number, ("%d\n%s\n%s\n%s"):format(size, etag(), name or "", value or ""))
  return answer(200)
end

local function parts(id)
  local found = {}
  for number = 1, 10000 do
    local text = uploads:get(id .. "/" .. number)
    if text then
      local size, tag, name, value = text:match("^(%d+)\n([^\n]*)\n([^\n]*)\n(.*)$")
      found[#found + 1] = { number = number, size = tonumber(size), tag = tag, name = name, value = value }
    end
  end
  return found
end

local function begin(bucket, key)
  local id = "upload" .. uploads:incr("next", 1, 0)
  uploads:set(id, record(0, NO_MD5, headers))
  return xml("<InitiateMultipartUploadResult><Bucket>" .. bucket .. "</Bucket><Key>" .. escape(key:match("^/[^/]+/(.*)"))
    .. "</Key><UploadId>" .. id .. "</UploadId></InitiateMultipartUploadResult>")
end

local function drop(id)
  for _, part in ipairs(parts(id)) do uploads:delete(id .. "/" .. part.number) end
  uploads:delete(id)
end

local function complete(bucket, key, id)
  local began = uploads:get(id)
  if not began then return refuse(404, "NoSuchUpload") end
  local _, body = read(true)
  local size, listed = 0, {}
  for number in body:gmatch("<PartNumber>%s*(%d+)%s*</PartNumber>") do listed[tonumber(number)] = true end
  for _, part in ipairs(parts(id)) do
    if listed[part.number] then size, listed[part.number] = size + part.size, nil end
  end
  if next(listed) then return refuse(400, "InvalidPart") end
  local text = began:gsub("^%d+", ("%d"):format(size), 1)
  if not store(key, text) then return refuse(412, "PreconditionFailed") end
  documents:delete(key)
  drop(id)
  return xml("<CompleteMultipartUploadResult><Bucket>" .. bucket .. "</Bucket><Key>" .. escape(key:match("^/[^/]+/(.*)"))
    .. "</Key><ETag>" .. escape(NO_MD5) .. "</ETag></CompleteMultipartUploadResult>")
end

local function list_parts(id)
  if not uploads:get(id) then return refuse(404, "NoSuchUpload") end
  local rows = {}
  for _, part in ipairs(parts(id)) do
    local sum = part.name ~= "" and ("<Checksum%s>%s</Checksum%s>"):format(part.name, part.value, part.name) or ""
    rows[#rows + 1] = ("<Part><PartNumber>%d</PartNumber><Size>%d</Size><ETag>%s</ETag>%s</Part>"):format(
      part.number, part.size, escape(part.tag), sum)
  end
  return xml("<ListPartsResult><IsTruncated>false</IsTruncated>" .. table.concat(rows) .. "</ListPartsResult>")
end

local function show(key)
  local found = objects:get(key)
  if not found then return refuse(404, "NoSuchKey") end
  local size, tag, time, rest = fields(found)
  for name, value in rest:gmatch("\n([^:\n]+): ([^\n]*)") do ngx.header[name] = value end
  local body = documents:get(key)
  if method == "GET" and not body then return refuse(400, "NothingKept") end
  ngx.header["ETag"], ngx.header["Last-Modified"] = tag, ngx.http_time(time)
  ngx.header["Accept-Ranges"] = "bytes"
  local first, last = (headers["range"] or ""):match("^bytes=(%d+)%-(%d*)$")
  if method == "GET" and first then
    first, last = tonumber(first), math.min(tonumber(last) or size - 1, size - 1)
    ngx.status, body = 206, body:sub(first + 1, last + 1)
    ngx.header["Content-Range"] = ("bytes %d-%d/%d"):format(first, last, size)
    size = #body
  end
  ngx.header["Content-Type"], ngx.header["Content-Length"] = "application/octet-stream", size
  if method == "GET" then ngx.print(body) end
  return ngx.exit(ngx.OK)
end

-- The keys of a bucket below a prefix, without the bucket, sorted.
local function keys(bucket, prefix)
  local start, found = "/" .. bucket .. "/", {}
  local whole = start .. prefix
  for _, key in ipairs(objects:get_keys(0)) do
    if key:sub(1, #whole) == whole then found[#found + 1] = key:sub(#start + 1) end
  end
  table.sort(found)
  return found
end

local function list(bucket)
  local prefix, delimiter = args.prefix or "", args.delimiter or ""
  local after = args["continuation-token"] or args["start-after"] or args.marker or ""
  local most, rows, seen, last, more = tonumber(args["max-keys"]) or 1000, {}, {}, "", false
  if type(prefix) ~= "string" then prefix = "" end
  if type(delimiter) ~= "string" then delimiter = "" end
  if type(after) ~= "string" then after = "" end
  local url = args["encoding-type"] == "url"
  local function shown(key) return url and ngx.escape_uri(key):gsub("%%2F", "/") or escape(key) end
  for _, key in ipairs(keys(bucket, prefix)) do
    local stop = delimiter ~= "" and key:find(delimiter, #prefix + 1, true)
    local name = stop and key:sub(1, stop + #delimiter - 1) or key
    if name > after and not seen[name] then
      if #rows == most then more = true break end
      seen[name], last = true, name
      local size, tag, time = fields(objects:get("/" .. bucket .. "/" .. key) or "0\n\n0")
      rows[#rows + 1] = stop and "<CommonPrefixes><Prefix>" .. shown(name) .. "</Prefix></CommonPrefixes>"
        or ("<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>%s</ETag><Size>%d</Size>"
          .. "<StorageClass>STANDARD</StorageClass></Contents>"):format(shown(key), iso(time), escape(tag), size)
    end
  end
  local next_page = more and ("<NextContinuationToken>%s</NextContinuationToken><NextMarker>%s</NextMarker>"):format(
    escape(last), shown(last)) or ""
  return xml(('<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>%s</Name><Prefix>%s</Prefix>'
    .. "<KeyCount>%d</KeyCount><MaxKeys>%d</MaxKeys>%s<IsTruncated>%s</IsTruncated>%s%s</ListBucketResult>"):format(
    bucket, shown(prefix), #rows, most, url and "<EncodingType>url</EncodingType>" or "", tostring(more), next_page,
    table.concat(rows)))
end

local function delete_many(bucket)
  local _, body = read(true)
  local rows = {}
  for key in body:gmatch("<Key>(.-)</Key>") do
    objects:delete("/" .. bucket .. "/" .. unescape(key))
    rows[#rows + 1] = "<Deleted><Key>" .. key .. "</Key></Deleted>"
  end
  return xml("<DeleteResult>" .. table.concat(rows) .. "</DeleteResult>")
end

local function serve_bucket(bucket)
  if method == "POST" and args.delete then return delete_many(bucket) end
  if method == "DELETE" then
    for _, key in ipairs(keys(bucket, "")) do
      objects:delete("/" .. bucket .. "/" .. key)
      documents:delete("/" .. bucket .. "/" .. key)
    end
    return answer(204)
  end
  if method ~= "GET" then
    ngx.header["x-amz-bucket-region"] = "us-east-1"
    return answer(200)
  end
  if args.location then return xml("<LocationConstraint/>") end
  if args.uploads then return xml("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>") end
  if args.versioning then return xml("<VersioningConfiguration/>") end
  return list(bucket)
end

local function serve_object(bucket, key)
  local id = args.uploadId
  if method == "PUT" then return id and put_part(id, tonumber(args.partNumber)) or put_object(key) end
  if method == "POST" then return id and complete(bucket, key, id) or begin(bucket, key) end
  if method == "DELETE" then
    if id then drop(id) else objects:delete(key) documents:delete(key) end
    return answer(204)
  end
  return id and list_parts(id) or show(key)
end

local bucket, key = uri:match("^/([^/]+)/?(.*)$")
if not bucket then return xml("<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>") end
if key == "" then return serve_bucket(bucket) end
return serve_object(bucket, uri)
