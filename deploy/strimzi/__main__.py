"""Write topics.yaml and users.yaml beside this file: `make strimzi`. The settings are those of the environment."""

from pathlib import Path

from app.settings import load_settings
from deploy.strimzi.resources import topics_document, users_document

FOLDER = Path(__file__).parent

settings = load_settings()
for name, text in (("topics.yaml", topics_document(settings)), ("users.yaml", users_document(settings))):
    (FOLDER / name).write_text(text, encoding="utf-8")
    print(FOLDER.relative_to(Path.cwd()) / name)
