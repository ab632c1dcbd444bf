// Submits a build with the TypeScript SDK, waits for its end and asks why it failed.
//
// node build.mjs SDK URL JOB_CONFIG     SDK: v1, v2 (2025 revisions) or v2-modern (2026-07-28)
// Prints what it saw as one JSON object.

const [sdk, url, jobConfig] = process.argv.slice(2);
const info = { name: "typescript", version: "1" };

async function connect() {
  if (sdk === "v1") {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import(
      "@modelcontextprotocol/sdk/client/streamableHttp.js"
    );
    const client = new Client(info);
    await client.connect(new StreamableHTTPClientTransport(new URL(url)));
    return client;
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const mode = sdk === "v2" ? "legacy" : { pin: "2026-07-28" };
  const client = new Client(info, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return client;
}

const client = await connect();
const call = async (name, args, options) => {
  const params = { name, arguments: args };
  const result = await (sdk === "v1"
    ? client.callTool(params, undefined, options)
    : client.callTool(params, options));
  if (result.isError) throw new Error(`${name}: ${result.content[0].text}`);
  return result.structuredContent;
};

const tools = (await client.listTools()).tools.map((tool) => tool.name);
const prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
const submitted = await call("submitJob", JSON.parse(jobConfig));
const job_id = submitted.job_id;
const progress = [];
let after;
let waited;
do {
  const onprogress = (told) => progress.push(told.progress);
  waited = await call("waitForJob", { job_id, after, timeout: 20 }, { onprogress });
  after = waited.cursor ?? undefined;
} while (!waited.final);
const failure = await call("getFailure", { job_id });
const outcome = await client.readResource({ uri: `build://${job_id}/outcome` });
await client.close();
console.log(
  JSON.stringify({
    tools,
    prompts,
    job_id,
    status: waited.status,
    progress,
    failure,
    outcome: JSON.parse(outcome.contents[0].text),
  }),
);
