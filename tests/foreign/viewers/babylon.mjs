// Babylon.js and its loaders, which are plain scripts.
function script(url) {
  return new Promise((resolve, reject) => {
    const element = document.createElement('script');
    Object.assign(element, {src: url, onload: resolve, onerror: reject});
    document.head.append(element);
  });
}

export async function show(canvas, url, {turn, position}) {
  if (!window.BABYLON) {
    await script('/node_modules/babylonjs/babylon.js');
    await script('/node_modules/babylonjs-loaders/babylonjs.loaders.min.js');
  }
  const engine = new BABYLON.Engine(canvas, false);
  const scene = new BABYLON.Scene(engine);
  scene.clearColor = new BABYLON.Color4(1, 1, 1, 1);
  await BABYLON.AppendSceneAsync(url, scene);
  const stand = new BABYLON.TransformNode('stand', scene);
  for (const head of scene.meshes.filter(mesh => !mesh.parent)) head.parent = stand;
  stand.rotation = new BABYLON.Vector3(...turn.map(BABYLON.Tools.ToRadians));
  const camera = new BABYLON.FreeCamera('camera', new BABYLON.Vector3(...position), scene);
  camera.fov = 50 * Math.PI / 180;
  camera.minZ = 0.01;
  camera.setTarget(BABYLON.Vector3.Zero());
  scene.activeCamera = camera;
  engine.runRenderLoop(() => scene.render());
  return () => engine.dispose();
}
