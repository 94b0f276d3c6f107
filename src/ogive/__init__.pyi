from .model import DAYS_PER_YEAR as DAYS_PER_YEAR
from .model import OgiveError as OgiveError
from .model import Pair as Pair
from .model import Scene as Scene
