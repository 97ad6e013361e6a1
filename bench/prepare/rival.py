"""The Python way: pypdfium2 or Pillow, PNG inside, one Dataset.save_to_disk. rival.py KIND SOURCE FOLDER DPI"""
import io, json, os, resource, sys, time
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow

kind, source, folder, dpi = sys.argv[1:5]
began = time.perf_counter()
images = []
if kind == "pdf":
    import pypdfium2
    pdf = pypdfium2.PdfDocument(source)
    images = [page.render(scale=int(dpi) / 72).to_pil() for page in pdf]
else:
    images = [Pillow.open(os.path.join(source, name)).convert("RGB") for name in sorted(os.listdir(source))]
features = Features({"image": Image(), "source": Value("string"), "page": Value("int64")})
data = {"image": images, "source": [source] * len(images), "page": list(range(1, len(images) + 1))}
Dataset.from_dict(data, features=features).save_to_disk(folder)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"pages": len(images), "seconds": time.perf_counter() - began, "peak": peak}))
sys.stdout.flush()
os._exit(0)
