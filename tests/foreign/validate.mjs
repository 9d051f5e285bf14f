// Prints the report of Khronos's glTF-Validator on a file as JSON: node validate.mjs head.glb
import {readFileSync} from 'node:fs';
import validator from 'gltf-validator';

const report = await validator.validateBytes(new Uint8Array(readFileSync(process.argv[2])), {writeTimestamp: false});
console.log(JSON.stringify(report));
