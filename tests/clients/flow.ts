// What a developer does first: see what an order holds, download it, build it in the background, read the report.
import { writeFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [address, key, order_id, folder] = process.argv.slice(2);
if (!address || !key || !order_id || !folder) throw new Error("usage: flow ADDRESS KEY ORDER_ID FOLDER");
const api = createClient<paths>({ baseUrl: address, headers: { "X-API-Key": key } });
const path = { order_id };

function found<T>(result: { data?: T; error?: components["schemas"]["Problem"]; response: Response }): T {
  if (result.data === undefined) throw new Error(`${result.response.status} ${result.error?.code}`);
  return result.data;
}

const overview = found(await api.GET("/v1/orders/{order_id}", { params: { path } }));

const download = await api.GET("/v1/orders/{order_id}/images", {
  params: { path, query: { quality: 80, on_failure: "partial" } },
  parseAs: "arrayBuffer",
});
await writeFile(`${folder}/download.zip`, new Uint8Array(found(download)));
const archive_id = download.response.headers.get("X-Archive-Id") ?? "";

let job = found(
  await api.POST("/v1/orders/{order_id}/jobs", {
    params: { path, query: { quality: 80 }, header: { "Idempotency-Key": "flow" } },
  }),
);
while (job.status === "queued" || job.status === "processing") {
  await new Promise((resolve) => setTimeout(resolve, 100));
  job = found(await api.GET("/v1/jobs/{job_id}", { params: { path: { job_id: job.job_id } } }));
}
const result = await api.GET("/v1/jobs/{job_id}/download", {
  params: { path: { job_id: job.job_id } },
  parseAs: "arrayBuffer",
});
await writeFile(`${folder}/job.zip`, new Uint8Array(found(result)));

const report = found(await api.GET("/v1/archives/{archive_id}/report", { params: { path: { archive_id } } }));
const unknown = await api.GET("/v1/orders/{order_id}", {
  params: { path: { order_id: "00000000-0000-4000-8000-000000000000" } },
});

console.log(
  JSON.stringify({
    total: overview.total,
    names: overview.images.map((image) => image.file_name),
    status: job.status,
    outcomes: report.images.map((image) => image.outcome),
    unknown: unknown.error?.code,
  }),
);
