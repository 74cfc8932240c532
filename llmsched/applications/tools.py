"""The tools of all reference applications: the module that the entry point `applications` names."""

from llmsched.applications.claim_checking import tools as claim_checking
from llmsched.applications.code_generation import tools as code_generation
from llmsched.applications.document_merging import tools as document_merging
from llmsched.applications.llm_compiler import tools as llm_compiler
from llmsched.applications.map_reduce import tools as map_reduce
from llmsched.applications.optiguide import tools as optiguide
from llmsched.applications.sorting import tools as sorting
from llmsched.applications.task_automation import tools as task_automation
from llmsched.applications.taskmatrix import tools as taskmatrix
from llmsched.applications.web_search import tools as web_search

__all__ = [
    "claim_checking",
    "code_generation",
    "document_merging",
    "llm_compiler",
    "map_reduce",
    "optiguide",
    "sorting",
    "task_automation",
    "taskmatrix",
    "web_search",
]
