// PostGraphile on Holdfast's own schema, as its documentation sets it up; so many processes
// share the port. BENCH_DATABASE_URL, BENCH_PORT, BENCH_PROCESSES.
import cluster from "node:cluster";
import { createServer } from "node:http";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

const { BENCH_DATABASE_URL, BENCH_PORT, BENCH_PROCESSES } = process.env;

if (cluster.isPrimary) {
  for (let i = 0; i < Number(BENCH_PROCESSES); i++) cluster.fork();
  process.on("SIGTERM", () => process.exit(0)); // its children end with it
} else {
  const service = postgraphile({
    extends: [PostGraphileAmberPreset],
    pgServices: [
      makePgService({
        connectionString: BENCH_DATABASE_URL,
        schemas: ["holdfast"],
        poolConfig: { max: 20 },
      }),
    ],
    grafserv: { graphqlPath: "/graphql", websockets: false, graphiql: false, watch: false },
    grafast: { explain: false },
  });
  const server = createServer();
  await service.createServ(grafserv).addTo(server);
  server.listen(Number(BENCH_PORT), "127.0.0.1");
}
