"""The tools of all reference applications: the module that the entry point `applications` names."""

from llmsched.applications.code_generation import tools as code_generation
from llmsched.applications.sorting import tools as sorting
from llmsched.applications.task_automation import tools as task_automation

__all__ = ["code_generation", "sorting", "task_automation"]
