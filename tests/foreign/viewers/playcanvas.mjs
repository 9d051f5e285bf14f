// The PlayCanvas engine, which SuperSplat is made with.
import * as pc from 'playcanvas';

export async function show(canvas, url, {turn, position}) {
  const app = new pc.Application(canvas, {graphicsDeviceOptions: {antialias: false}});
  app.setCanvasFillMode(pc.FILLMODE_NONE, 256, 256);
  app.setCanvasResolution(pc.RESOLUTION_FIXED, 256, 256);
  const scene = url.endsWith('.glb');
  const asset = new pc.Asset('head', scene ? 'container' : 'gsplat', {url});
  await new Promise((resolve, reject) => {
    asset.once('load', resolve);
    asset.once('error', reject);
    app.assets.add(asset);
    app.assets.load(asset);
  });
  const head = scene ? asset.resource.instantiateRenderEntity() : new pc.Entity('head');
  if (!scene) head.addComponent('gsplat', {asset});
  head.setLocalEulerAngles(...turn);
  app.root.addChild(head);
  const camera = new pc.Entity('camera');
  camera.addComponent('camera', {clearColor: pc.Color.WHITE, fov: 50, nearClip: 0.01});
  camera.setPosition(...position);
  camera.lookAt(0, 0, 0);
  app.root.addChild(camera);
  app.start();
  return () => app.destroy();
}
