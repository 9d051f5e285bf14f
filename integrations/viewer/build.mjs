// Bundles src/ into facelift/page/: viewer.js and viewer.css, the licences of what is in them, and their checksums.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PAGE = here("../../facelift/page/");

// PlayCanvas carries each shader twice. The pages use WebGL 2 only, so the texts for WebGPU stay out.
const withoutWebGPU = {
    name: "without-webgpu",
    setup: ({ onLoad }) =>
        onLoad({ filter: /shader-lib[\\/]wgsl[\\/]chunks[\\/].*\.js$/ }, ({ path }) => {
            const exported = readFileSync(path, "utf8").match(/^export \{([^}]*)\}/m)[1].split(",");
            const names = exported.map((name) => `nothing as ${name.trim().split(" as ").pop()}`);
            return { contents: `const nothing = ""; export { ${names} };` };
        }),
};

const { outputFiles } = await build({
    entryPoints: { viewer: here("src/main.js"), style: here("src/viewer.css") },
    absWorkingDir: here("."),
    outdir: PAGE,
    bundle: true,
    minify: true,
    write: false,
    charset: "ascii",
    format: "iife",
    legalComments: "none", // LICENSES.txt has them
    target: ["chrome100", "firefox100", "safari16"],
    plugins: [withoutWebGPU],
});

const engine = JSON.parse(readFileSync(here("node_modules/playcanvas/package.json"), "utf8"));
const files = {
    "viewer.js": outputFiles.find((file) => file.path.endsWith(".js")).text,
    "viewer.css": outputFiles.find((file) => file.path.endsWith(".css")).text,
    "LICENSES.txt": `viewer.js contains PlayCanvas ${engine.version}, ${engine.homepage}\n\n${readFileSync(
        here("node_modules/playcanvas/LICENSE"),
        "utf8",
    )}`,
};
// Within an HTML page a script ends at the first "</script", and a comment at the first "-->".
if (/<\/script|<!--/i.test(files["viewer.js"])) throw new Error("viewer.js cannot stand within a page");
if (files["LICENSES.txt"].includes("--")) throw new Error("LICENSES.txt cannot stand within a comment");

const sums = Object.entries(files).map(([name, text]) => {
    writeFileSync(PAGE + name, text);
    return `${createHash("sha256").update(text).digest("hex")}  ${name}\n`;
});
writeFileSync(`${PAGE}SHA256SUMS`, sums.join(""));
